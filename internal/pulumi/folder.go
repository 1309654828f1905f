package pulumi

import (
	"os"
	"path/filepath"
	"syscall"
)

const folderPrefix = "prego-pulumi-"

// privateDir makes a folder that only we can read, in parent, and removes those that
// runs which were killed have left there: tokens may be in them. A folder is in use as
// long as its lock is held; children inherit it, and the kernel gives it back when the
// last of them has died.
func privateDir(parent string) (dir string, lock *os.File, err error) {
	if parent == "" {
		parent = os.TempDir()
	}
	sweep(parent)
	if dir, err = os.MkdirTemp(parent, folderPrefix); err != nil {
		return "", nil, err
	}
	// Until the lock is taken the file has another name, so that nobody sweeps us up.
	if lock, err = os.Create(filepath.Join(dir, "new")); err != nil {
		return dir, nil, err
	}
	if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return dir, lock, err
	}
	return dir, lock, os.Rename(lock.Name(), filepath.Join(dir, "in-use"))
}

// sweep removes the folders in parent that nobody uses any more, and counts them.
func sweep(parent string) (swept int) {
	dirs, _ := filepath.Glob(filepath.Join(parent, folderPrefix+"*"))
	for _, dir := range dirs {
		f, err := os.Open(filepath.Join(dir, "in-use"))
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			if os.RemoveAll(dir) == nil {
				swept++
			}
		}
		_ = f.Close()
	}
	return swept
}
