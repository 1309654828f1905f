//go:build !linux

package main

import "os"

func inMemory(string) bool { return false }

func fileSystem(string) string { return "an unknown file system" }

func dataSync(f *os.File) error { return f.Sync() }
