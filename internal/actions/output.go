package actions

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// outputLimit is what a job's outputs may hold together.
// https://docs.github.com/actions/reference/workflows-and-actions/metadata-syntax#outputs-for-docker-container-and-javascript-actions
const outputLimit = 1 << 20

// SetOutput sets an output of the step, for the steps after it.
//
// A name is a letter or underscore, then letters, digits, underscores and hyphens. A value
// is any text; one that holds a masked secret is refused, because the runner would drop it
// and say so to nobody. On a laptop nothing reads outputs, so nothing is set: the caller
// prints what a person wants to see.
func (a *Action) SetOutput(name, value string) error {
	file := a.env("GITHUB_OUTPUT")
	switch {
	case file == "" && !a.Running():
		return nil
	case len(value) > outputLimit:
		return fmt.Errorf("output %s: the value has %d bytes, more than %d", name, len(value), outputLimit)
	case a.Redact(value) != value:
		return fmt.Errorf("output %s: the value contains a secret", name)
	case file == "":
		return fmt.Errorf("output %s: GITHUB_OUTPUT is not set", name)
	}
	if err := appendPair(file, name, value); err != nil {
		return fmt.Errorf("output %s: %w", name, err)
	}
	return nil
}

// appendPair adds a name and its value to one of the runner's files, in lines between two
// of a delimiter.
func appendPair(file, name, value string) error {
	// rand.Read never fails. With 128 random bits, no value can hold its delimiter, or a
	// remote that chose the value could end it and forge another name behind it.
	random := make([]byte, 16)
	_, _ = rand.Read(random)
	delimiter := "ghadelimiter_" + hex.EncodeToString(random)
	switch {
	case !validOutputName(name):
		return errors.New("not a name of letters, digits, underscores and hyphens")
	case !utf8.ValidString(value):
		return errors.New("the value is not UTF-8")
	case strings.Contains(value, delimiter):
		return errors.New("the value contains its own delimiter")
	}
	return appendLines(file, name+"<<"+delimiter+"\n"+value+"\n"+delimiter+"\n")
}

// CheckOutputs says why outputs could not be set, without setting one: whoever does
// something that cannot be undone asks before.
func (a *Action) CheckOutputs() error {
	file := a.env("GITHUB_OUTPUT")
	switch {
	case file == "" && !a.Running():
		return nil
	case file == "":
		return errors.New("outputs: GITHUB_OUTPUT is not set")
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("outputs: %w", err)
	}
	return f.Close()
}

func validOutputName(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// summaryLimit keeps a summary below the 1,048,576 bytes of which the runner takes not
// one more: it drops a longer summary whole.
const summaryLimit = 900 << 10

const summaryCut = "\n\n… the summary was cut here: it is longer than GitHub takes.\n"

// Summary adds Markdown to the summary of the job, without the secrets in it. What is too
// long is cut at the end of a line, and says so. Outside the runner there is no summary,
// and nothing is done.
func (a *Action) Summary(markdown string) error {
	file := a.env("GITHUB_STEP_SUMMARY")
	switch {
	case file == "" && a.Running():
		return errors.New("job summary: GITHUB_STEP_SUMMARY is not set")
	case file == "":
		return nil
	}
	room := summaryLimit
	if info, err := os.Stat(file); err == nil {
		room -= int(min(info.Size(), summaryLimit))
	}
	text := strings.ToValidUTF8(a.Redact(markdown), "\uFFFD")
	if len(text) > room {
		text = cut(text, max(0, room-len(summaryCut)))
		text = text[:strings.LastIndexByte(text, '\n')+1] + summaryCut
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if err := appendLines(file, text); err != nil {
		return fmt.Errorf("job summary: %w", err)
	}
	return nil
}

// cut returns as much of s as fits n bytes and ends with a whole character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// appendLines adds text to the end of a file, on a line of its own, in one write.
func appendLines(name, text string) (err error) {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			text = "\n" + text
		}
	}
	_, err = f.WriteString(text)
	return err
}
