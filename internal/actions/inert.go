package actions

import (
	"bytes"
	"io"
	"strings"
)

// lineLimit is how much of a line is shown, in bytes. The runner's live log shows 1,024
// characters.
const lineLimit = 4 << 10

const lineCut = " … (line cut)"

// Inert returns a writer for the output of a child process: it goes on to w, whole lines
// at a time, and is text there and nothing else. The runner finds no workflow command in
// it, a terminal no sequence, a reader no masked secret. A line is what ends in LF, CR or
// both, as the runner reads it; one of more than 4 KiB is cut, and says so.
//
// It never fails, so that a log that cannot be written does not stop the child. Close
// writes what is left of the last line. It holds a line in memory, no more; one writer is
// for one goroutine, several of one Action may share w. A nil w is the Action's log.
func (a *Action) Inert(w io.Writer) io.WriteCloser {
	if w == nil {
		w = a.Stdout
	}
	if w == nil {
		w = io.Discard
	}
	return &inertWriter{a: a, w: w}
}

// Debugging reports whether somebody asked for debug logging: ACTIONS_STEP_DEBUG, which
// the runner passes on as RUNNER_DEBUG.
func (a *Action) Debugging() bool {
	return a.env("RUNNER_DEBUG") == "1" || a.env("ACTIONS_STEP_DEBUG") == "true"
}

// DebugLog returns a writer for what a child process prints: as [Action.Inert] has it, and
// each line a debug line of the log. It is nil unless somebody asked for those.
func (a *Action) DebugLog() io.WriteCloser {
	if !a.Debugging() {
		return nil
	}
	x := &inertWriter{a: a, w: a.Stdout, before: "debug: "}
	if x.w == nil {
		x.w = io.Discard
	}
	if a.Running() {
		x.before, x.escape = "::debug::", strings.NewReplacer("%", "%25")
	}
	return x
}

type inertWriter struct {
	a    *Action
	w    io.Writer
	line []byte // the line so far, up to what can matter
	long bool   // the line has more
	cr   bool   // the last byte was a CR: an LF belongs to it
	out  bytes.Buffer

	before string            // what each line begins with
	escape *strings.Replacer // nil for none
}

func (x *inertWriter) Write(p []byte) (int, error) {
	n := len(p)
	keep := x.keep()
	for len(p) > 0 {
		if x.cr && p[0] == '\n' {
			p = p[1:]
			x.cr = false
			continue
		}
		x.cr = false
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			x.add(p, keep)
			break
		}
		x.add(p[:i], keep)
		x.cr = p[i] == '\r'
		p = p[i+1:]
		x.end()
	}
	x.flush()
	return n, nil
}

// Close writes the last line, if it has not ended.
func (x *inertWriter) Close() error {
	if len(x.line) > 0 || x.long {
		x.end()
	}
	x.flush()
	return nil
}

// keep is how much of a line is held: what is shown, at up to four bytes lost for one
// kept, and a secret that begins in it and ends behind it.
func (x *inertWriter) keep() int { return 4*lineLimit + x.a.secrets.maxLen() }

// add adds p to the line, up to keep bytes.
func (x *inertWriter) add(p []byte, keep int) {
	if room := max(0, keep-len(x.line)); len(p) > room {
		p, x.long = p[:room], true
	}
	x.line = append(x.line, p...)
}

// end makes the line inert, and begins the next.
func (x *inertWriter) end() {
	text := x.a.Redact(clean(string(x.line)))
	if x.long {
		// What is at the end may be the beginning of a secret.
		text = cut(text, max(0, len(text)-x.a.secrets.maxLen()))
	}
	shown := cut(text, lineLimit)
	if x.long || len(shown) < len(text) {
		shown += lineCut
	}
	if shown = disarm(shown); x.escape != nil {
		shown = x.escape.Replace(shown)
	}
	x.out.WriteString(x.before + shown + "\n")
	x.line, x.long = x.line[:0], false
	if x.out.Len() > 64<<10 {
		x.flush()
	}
}

// flush passes on the lines that have ended.
func (x *inertWriter) flush() {
	if x.out.Len() == 0 {
		return
	}
	x.a.mu.Lock()
	defer x.a.mu.Unlock()
	_, _ = x.w.Write(x.out.Bytes()) // see Inert
	x.out.Reset()
}
