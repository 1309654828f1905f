package actions_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

const canary = "c4nary/+&\"=Secret~é"

// A secret is found in every spelling, alone and inside other text.
func TestRedact(t *testing.T) {
	const key = "-----BEGIN KEY-----\r\nMIIEow/AbCd+123\r\n{\r\n-----END KEY-----\n"
	a, _ := onLaptop()
	const spaced = "of  the\t database"
	a.Mask(canary, key, spaced, "", "short", "   ")
	quoted, _ := json.Marshal(canary)
	for name, spelling := range map[string]string{
		"whole": canary,
		"json":  string(quoted),
		"go":    fmt.Sprintf("%q", canary),
		"query": url.QueryEscape(canary),
		"path":  url.PathEscape(canary),
		"hex":   hex.EncodeToString([]byte(canary)),
		"HEX":   fmt.Sprintf("%X", canary),
		"key":   key,
		"line":  "MIIEow/AbCd+123",
		"words": strings.Join(strings.Fields(spaced), " "),
	} {
		for _, text := range []string{spelling, "x" + spelling, "user: " + spelling + " y", spelling + spelling} {
			got := a.Redact(text)
			if strings.Contains(got, strings.Trim(spelling, `"`)) || !strings.Contains(got, "***") {
				t.Errorf("%s: Redact(%q) = %q", name, text, got)
			}
		}
	}
	for before := range 7 {
		for after := range 4 {
			text := strings.Repeat("b", before) + canary + strings.Repeat("a", after)
			for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding} {
				if got := a.Redact(enc.EncodeToString([]byte(text))); len(got) > 4+before*4/3+after*4/3+12 {
					t.Errorf("base64 of %q: %q", text, got)
				}
			}
		}
	}
	for _, text := range []string{"", "a short text", "{", "c4nary", "nothing here to see\n"} {
		if got := a.Redact(text); got != text {
			t.Errorf("Redact(%q) = %q, want it unchanged", text, got)
		}
	}
}

// Secrets that overlap leave nothing of either.
func TestRedactOverlap(t *testing.T) {
	a, _ := onLaptop()
	a.Mask("abcdefgh", "efghijkl", "abcdefghXYZ", "zzzzzz")
	for text, want := range map[string]string{
		"1abcdefghijkl2":      "1***2",
		"abcdefghXYZ":         "***",
		"abcdefghXY":          "***XY",
		"abcdefghabcdefgh.":   "******.",
		"zzzzzzz":             "***",
		"abcdefg":             "abcdefg",
		"é abcdefgh é efghij": "é *** é efghij",
	} {
		if got := a.Redact(text); got != want {
			t.Errorf("Redact(%q) = %q, want %q", text, got, want)
		}
	}
}

// The runner is told each mask, never a short one, and on a laptop nothing is printed.
func TestMask(t *testing.T) {
	const multi = "{\n\"private\": \"long-enough\"\n}"
	a, out := onRunner()
	a.Mask("s3cr3t-token", "", "ab", multi)
	masks := map[string]bool{}
	for _, c := range commands(out.String(), false) {
		masks[c.Data] = true
		if c.Name != "add-mask" || len(c.Data) < 6 || strings.ContainsAny(c.Data, "\r\n") {
			t.Errorf("command %+v", c)
		}
	}
	for _, want := range []string{"s3cr3t-token", "czNjcjN0LXRva2Vu", `"private": "long-enough"`, `{\n\"private\": \"long-enough\"\n}`} {
		if !masks[want] {
			t.Errorf("%q is not masked", want)
		}
	}
	before := out.Len()
	if a.Mask("s3cr3t-token"); out.Len() != before {
		t.Error("the same secret is masked again")
	}
	a.Notice("s3cr3t-token", "is s3cr3t-token")
	if strings.Contains(out.String()[before:], "s3cr3t") {
		t.Errorf("an annotation shows the secret: %s", out.String()[before:])
	}
	a, out = onLaptop()
	if a.Mask("s3cr3t-token"); out.Len() > 0 {
		t.Errorf("on a laptop: printed %q", out)
	}
}
