package actions

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
)

// commandFiles are the variables that name the files through which a step speaks to the
// runner. What stands in GITHUB_ENV or GITHUB_PATH decides what the steps after it run.
// https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands#environment-files
var commandFiles = []string{"GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"}

// Fence remembers what the runner's files hold before somebody else's program is run. That
// program is not told where they are, but it can look for them. mend puts back what has been
// changed since, and returns the variables of those files. A file that cannot be put back is
// in the error.
//
// Somebody may have put a link in a file's place, which leads to a file that only the runner
// sees, since it looks from outside of the container: so a file has to be the very one.
func (a *Action) Fence() (mend func() (mended []string, err error)) {
	was := map[string][]byte{} // nil for a file that is not there
	for _, name := range commandFiles {
		info, err := os.Lstat(a.env(name))
		switch {
		case a.env(name) == "":
		case errors.Is(err, fs.ErrNotExist):
			was[name] = nil
		case err == nil && info.Mode().IsRegular():
			if data, err := os.ReadFile(a.env(name)); err == nil {
				was[name] = append([]byte{}, data...)
			}
		}
	}
	return func() (mended []string, err error) {
		for _, name := range slices.Sorted(maps.Keys(was)) {
			if file := a.env(name); !holds(file, was[name]) {
				mended = append(mended, name)
				if e := putBack(file, was[name]); e != nil {
					err = errors.Join(err, fmt.Errorf("%s: %w", name, e))
				}
			}
		}
		return mended, err
	}
}

// holds reports whether a file is a file and holds just data; for nil, whether there is none,
// or an empty one, which says nothing.
func holds(file string, data []byte) bool {
	info, err := os.Lstat(file)
	switch {
	case data == nil && errors.Is(err, fs.ErrNotExist):
		return true
	case err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(data)):
		return false // it may have become very long
	}
	now, err := os.ReadFile(file)
	return err == nil && bytes.Equal(now, data)
}

// putBack makes a file hold data, whatever stands in its place; for nil there is none then.
func putBack(file string, data []byte) error {
	if info, err := os.Lstat(file); data == nil || err != nil || !info.Mode().IsRegular() {
		if err := os.RemoveAll(file); err != nil || data == nil {
			return err
		}
	}
	return os.WriteFile(file, data, 0o644)
}
