package actions

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sethvargo/go-githubactions"
)

// minSecret is the length of the shortest text that is masked. A mask of a few characters
// would blot out ordinary words, and the runner drops outputs that a mask matches.
const minSecret = 6

const redacted = "***"

// Mask keeps the values out of the log from here on, in every spelling of [spellings]:
// the runner is told before anything else is printed, and [Action.Redact] knows them too.
// A value of fewer than 6 characters, or a line of one, is not masked.
func (a *Action) Mask(values ...string) {
	var added []string
	for _, v := range values {
		for _, s := range spellings(v) {
			if a.secrets.add(s) {
				added = append(added, s)
			}
		}
	}
	if !a.Running() {
		return
	}
	for _, s := range added {
		// The runner splits a value of several lines and masks each, even a single brace.
		// It sees the log by lines, so it needs no more than the lines added here.
		if !strings.ContainsAny(s, "\r\n") {
			a.runner().IssueCommand(&githubactions.Command{Name: "add-mask", Message: s})
		}
	}
}

// Redact returns text with every masked secret in it replaced by ***.
func (a *Action) Redact(text string) string { return a.secrets.redact(text) }

// spellings returns the forms in which a log may show a secret: whole, by lines, on one
// line with single blanks, as errors have what somebody else has said, quoted
// as by JSON, Go or a URL, in hexadecimal, and inside the base64 of something longer.
func spellings(secret string) []string {
	list := []string{secret, strings.TrimSpace(secret), clean(secret), oneLine(secret)}
	for line := range strings.FieldsFuncSeq(secret, func(r rune) bool { return r == '\n' || r == '\r' }) {
		list = append(list, line, strings.TrimSpace(line), clean(line))
	}
	for _, s := range slices.Clone(list) {
		quoted, _ := json.Marshal(s) // a string always marshals
		var plain bytes.Buffer
		e := json.NewEncoder(&plain)
		e.SetEscapeHTML(false)
		_ = e.Encode(s)
		list = append(list,
			strings.Trim(string(quoted), `"`),
			strings.Trim(strings.TrimSpace(plain.String()), `"`),
			strings.Trim(strconv.Quote(s), `"`),
			url.QueryEscape(s),
			url.PathEscape(s),
			hex.EncodeToString([]byte(s)),
			strings.ToUpper(hex.EncodeToString([]byte(s))),
		)
		for shift := range 3 {
			list = append(list, base64Inside(base64.StdEncoding, s, shift), base64Inside(base64.URLEncoding, s, shift))
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	return slices.DeleteFunc(list, func(s string) bool { return len(strings.TrimSpace(s)) < minSecret })
}

// base64Inside returns the characters that s has for certain in the base64 of any text
// that holds s behind a multiple of three bytes and shift more.
func base64Inside(enc *base64.Encoding, s string, shift int) string {
	text := enc.WithPadding(base64.NoPadding).EncodeToString([]byte(strings.Repeat("\x00", shift) + s))
	if (shift+len(s))%3 != 0 {
		text = text[:len(text)-1] // shares its bits with what follows
	}
	return text[min(len(text), []int{0, 2, 3}[shift]):] // share theirs with what goes before
}

// secrets is a set of texts to be redacted, indexed by their first bytes so that a text is
// searched once for all of them.
type secrets struct {
	mu      sync.RWMutex
	starts  [1 << 16 / 64]uint64 // the first two bytes, as a set of bits
	byStart map[string][]string  // by the first minSecret bytes
	longest int
}

// add reports whether s is new. It has at least minSecret bytes.
func (x *secrets) add(s string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byStart == nil {
		x.byStart = map[string][]string{}
	}
	start := s[:minSecret]
	if slices.Contains(x.byStart[start], s) {
		return false
	}
	x.byStart[start] = append(x.byStart[start], s)
	pair := uint(s[0])<<8 | uint(s[1])
	x.starts[pair/64] |= 1 << (pair % 64)
	x.longest = max(x.longest, len(s))
	return true
}

// maxLen is the length of the longest secret.
func (x *secrets) maxLen() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.longest
}

// redact replaces every stretch of text that one secret, or several that overlap, cover.
func (x *secrets) redact(text string) string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.byStart == nil {
		return text
	}
	var b strings.Builder
	kept := 0 // how much of text is in b
	for i, end := 0, 0; i+minSecret <= len(text); i++ {
		pair := uint(text[i])<<8 | uint(text[i+1])
		if x.starts[pair/64]&(1<<(pair%64)) == 0 {
			continue
		}
		for _, s := range x.byStart[text[i:i+minSecret]] {
			if !strings.HasPrefix(text[i:], s) || i+len(s) <= end {
				continue
			}
			if i >= end { // else it overlaps what is covered already
				b.WriteString(text[kept:i] + redacted)
			}
			end = i + len(s)
			kept = end
		}
	}
	if kept == 0 {
		return text
	}
	return b.String() + text[kept:]
}
