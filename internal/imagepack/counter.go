package main

import (
	"encoding/hex"
	"hash"
)

// A counter hashes and counts what is written to it.
type counter struct {
	hash.Hash
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.Hash.Write(p)
}

func (c *counter) digest() string { return "sha256:" + hex.EncodeToString(c.Sum(nil)) }
