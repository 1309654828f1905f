package actions

import (
	"bytes"
	"os"
	"slices"
)

// commandFiles are the variables that name the files through which a step speaks to the
// runner. What stands in GITHUB_ENV or GITHUB_PATH decides what the steps after it run.
// https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands#environment-files
var commandFiles = []string{"GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"}

// Fence remembers what the runner's files hold before somebody else's program is run. That
// program is not told where they are, but it can look for them. mend puts back what has been
// changed since, and returns the variables of those files.
func (a *Action) Fence() (mend func() (mended []string)) {
	was := map[string][]byte{}
	for _, name := range commandFiles {
		if info, err := os.Stat(a.env(name)); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if data, err := os.ReadFile(a.env(name)); err == nil {
			was[name] = data
		}
	}
	return func() (mended []string) {
		for name, data := range was {
			if !holds(a.env(name), data) && os.WriteFile(a.env(name), data, 0o644) == nil {
				mended = append(mended, name)
			}
		}
		slices.Sort(mended)
		return mended
	}
}

// holds reports whether a file holds just data.
func holds(file string, data []byte) bool {
	if info, err := os.Stat(file); err != nil || info.Size() != int64(len(data)) {
		return false // it may have become very long
	}
	now, err := os.ReadFile(file)
	return err == nil && bytes.Equal(now, data)
}
