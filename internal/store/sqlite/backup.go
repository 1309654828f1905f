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

// Backup writes a copy of the database to a new file at path: all of one moment, while it
// is read and written. The copy is its owner's alone, and is there whole or not at all; a
// file that exists is a conflict. It can be opened in place of the original.
func (db *DB) Backup(ctx context.Context, path string) error {
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
	err = db.copyTo(ctx, f)
	if err == nil {
		err = os.Link(f.Name(), abs) // unlike a rename, it replaces nothing
	}
	err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	if errors.Is(err, fs.ErrExist) {
		return exists(abs)
	}
	return db.file.Classify("backup to "+abs, err)
}

func exists(path string) error {
	return &provision.Error{Class: provision.Conflict, Text: fmt.Sprintf("backup: there is a file at %s already", path),
		Next: "choose another name, or remove that file first"}
}

// copyTo writes the copy to f, which is empty, and through to the disk.
func (db *DB) copyTo(ctx context.Context, f *os.File) error {
	c := connect(db.file.path, 1, "")
	_, err := c.ExecContext(ctx, "VACUUM INTO ?1", f.Name())
	return errors.Join(err, f.Sync(), c.Close())
}
