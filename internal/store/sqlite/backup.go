package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// Backup writes a copy of the database at from to a new file at path: all of one moment,
// while others read and write it. Its schema is the one that it has, which may be older than
// this program's. The copy is its owner's alone, and is there whole or not at all; a file
// that exists is a conflict. It can be opened in place of the original.
func Backup(ctx context.Context, from, path string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return provision.Errorf(provision.Invalid, "backup of %q: %w", from, err)
	}
	// SQLite would make an empty one.
	if _, err := os.Stat(from); err != nil {
		return provision.Errorf(provision.NotFound, "there is no database: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return provision.Errorf(provision.Invalid, "backup to %q: %w", path, err)
	}
	if _, err := os.Lstat(abs); err == nil {
		return exists(abs)
	}
	f, err := os.CreateTemp(filepath.Dir(abs), filepath.Base(abs)+".*")
	if err != nil {
		return provision.Errorf(provision.Invalid, "backup: %w", err)
	}
	err = copyTo(ctx, f, from)
	if err == nil {
		err = os.Link(f.Name(), abs) // unlike a rename, it replaces nothing
	}
	err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	if errors.Is(err, fs.ErrExist) {
		return exists(abs)
	}
	return new(file).Classify("backup to "+abs, err)
}

func exists(path string) error {
	return &provision.Error{Class: provision.Conflict, Text: fmt.Sprintf("backup: there is a file at %s already", path),
		Next: "choose another name, or remove that file first"}
}

// copyTo writes the copy to f, which is empty, and through to the disk.
func copyTo(ctx context.Context, f *os.File, from string) error {
	c := connect(from, 1, "")
	_, err := c.ExecContext(ctx, "VACUUM INTO ?1", f.Name())
	return errors.Join(err, f.Sync(), c.Close())
}
