package actions

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean returns one line of text as a log may show it: no terminal sequences, no control
// or invisible characters, nothing that changes the direction of writing, all white space
// a blank or a tab, valid UTF-8.
//
// What is dropped here matters to the runner too. It looks for its commands with .NET's
// culture-sensitive comparison, which ignores characters that have no weight.
func clean(line string) string {
	if plain(line) {
		return line
	}
	line = terminalSequence.ReplaceAllString(strings.ToValidUTF8(line, "\uFFFD"), "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case unicode.IsSpace(r), unicode.In(r, unicode.Z):
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
			return -1
		case !unicode.IsGraphic(r): // unassigned, or for private use
			return utf8.RuneError
		}
		return r
	}, line)
}

// terminalSequence matches what a terminal obeys instead of showing (ECMA-48): CSI with
// its parameters, strings (OSC, DCS, SOS, PM, APC) that end in this line, and the rest of
// the escapes. Of a string without an end only the escape goes, so that it hides nothing.
var terminalSequence = regexp.MustCompile(
	"(?:\x1b\\[|\u009b)[0-?]*[ -/]*[@-~]?" +
		"|(?:\x1b[\\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\x07\x1b\u009c]*(?:\x07|\x1b\\\\|\u009c)" +
		"|\x1b[ -/]*[0-~]?")

// cleanLines is clean for text of several lines.
func cleanLines(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = clean(line)
	}
	return strings.Join(lines, "\n")
}

// plain reports whether s is printable ASCII and tabs.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if c != '\t' && (c < ' ' || c > '~') {
			return false
		}
	}
	return true
}

// disarm returns a clean line in which the runner finds no command, in either grammar of
// its ActionCommand.cs: ::name:: where nothing but white space goes before, and ##[name]
// anywhere. Characters that are the same but for their width count as well.
func disarm(line string) string {
	if i := strings.IndexFunc(line, weighty); i >= 0 {
		if r, _ := utf8.DecodeRuneInString(line[i:]); strings.ContainsRune(":：﹕︓∶∷⩴꞉", r) {
			line = "| " + line
		}
	}
	if !strings.ContainsAny(line, "[［") {
		return line
	}
	var b strings.Builder
	hashes := 0
	for _, r := range line {
		if (r == '[' || r == '［') && hashes > 1 {
			b.WriteByte(' ')
		}
		switch b.WriteRune(r); {
		case r == '#', r == '＃', r == '﹟':
			hashes++
		case weighty(r), r == ' ', r == '\t':
			hashes = 0
		}
	}
	return b.String()
}

// weighty reports whether r counts in every comparison: white space may be trimmed off,
// and a mark may be ignored.
func weighty(r rune) bool {
	return unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S)
}

// inert returns one line as it may be printed.
func (a *Action) inert(line string) string { return disarm(a.Redact(clean(line))) }
