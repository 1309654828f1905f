package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// diskDir makes a folder that is on a disk, as far as that can be known: where temporary
// files are, or in the user's cache where those are held in memory.
func diskDir() (string, error) {
	dir, err := os.MkdirTemp("", "prego-bench-")
	if err != nil || !inMemory(dir) {
		return dir, err
	}
	if err := os.Remove(dir); err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp(cache, "prego-bench-"); err == nil && inMemory(dir) {
		fmt.Println("no folder on a disk is known: writes are faster here than they are anywhere else")
	}
	return dir, err
}

// syncRate writes a page and syncs it, again and again for half a second.
func syncRate(dir string) (about string, err error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	page := make([]byte, 4096)
	var times []time.Duration
	start := time.Now()
	for time.Since(start) < 500*time.Millisecond {
		begin := time.Now()
		// The first thousand make the file longer, as a log does before it begins anew.
		if _, err := f.WriteAt(page, int64(len(times)%1000*len(page))); err != nil {
			return "", err
		}
		if err := dataSync(f); err != nil {
			return "", err
		}
		times = append(times, time.Since(begin))
	}
	r := summary(times, time.Since(start))
	return fmt.Sprintf("%.0f syncs per second (p50 %.2f ms, p99 %.2f ms)", r.rate(), r.p50.Seconds()*1000, r.p99.Seconds()*1000), nil
}
