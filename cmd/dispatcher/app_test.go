package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"sync"
)

// appPrivate is the key of the GitHub App that the scripts use: made once, because it takes
// a while.
var appPrivate = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// appKey returns it as PEM on one line, as variables often have it.
func appKey() (string, error) {
	key, err := appPrivate()
	if err != nil {
		return "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return strings.ReplaceAll(string(text), "\n", `\n`), nil
}
