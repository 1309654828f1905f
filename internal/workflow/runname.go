package workflow

import (
	"regexp"
	"strings"
)

// bare is an input in a run-name, as a word of its own: what stands beside it cannot be
// part of a job_id. Expressions do not tell capitals from small letters.
var bare = regexp.MustCompile(`(?:^|[^A-Za-z0-9._~@:+}-])\$\{\{\s*(?i:github\.event\.)?(?i:inputs)\.([A-Za-z0-9_-]+)\s*\}\}(?:$|[^A-Za-z0-9._~@:+$-])`)

// Names reports whether the name of every run carries the input as a word, so that a run
// can be found by it.
func (w Workflow) Names(input string) bool {
	// Neighbours may share the character between them, so that each match is looked for anew.
	for rest := w.RunName; ; {
		at := bare.FindStringSubmatchIndex(rest)
		if at == nil {
			return false
		}
		if strings.EqualFold(rest[at[2]:at[3]], input) {
			return true
		}
		rest = rest[at[3]:]
	}
}
