// Package actions speaks to GitHub's runner: a step's inputs and outputs, the log's masks,
// groups and annotations, the job summary, and the output of child processes, which it
// makes inert.
//
// It speaks strings and knows nothing of tenants. What the runner reads is documented at
// https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands;
// where that is silent, the runner's sources are named. The workflow commands themselves
// are written by go-githubactions. Its file commands, which use one delimiter for all
// values, and its panics for a log that cannot be written are not used.
//
// Outside the runner, as on a laptop, the same methods print plain text for a person.
// To add a workflow command, add a method to [Action] that says what it prints there too.
package actions

import (
	"io"
	"strings"
	"sync"
	"unicode"

	"github.com/sethvargo/go-githubactions"
)

// An Action is one step of a job, as the runner sees it. It is safe for concurrent use:
// every line it writes is written whole.
type Action struct {
	// Stdout is the log; nil discards it. A line that cannot be written is lost: a log
	// that nobody reads any more is no reason to stop half-way.
	Stdout io.Writer
	// Getenv looks up an environment variable; nil for an empty environment.
	Getenv func(string) string

	mu      sync.Mutex // held while writing
	secrets secrets
}

// Running reports whether the runner has started this process.
func (a *Action) Running() bool { return a.env("GITHUB_ACTIONS") == "true" }

// Input returns the input called name, without white space around it; "" if there is none.
// The runner passes it as INPUT_NAME, in upper case, hyphens kept. A byte order mark is white
// space there, as it is to the toolkits, which are written in JavaScript.
func (a *Action) Input(name string) string {
	return strings.TrimFunc(a.runner().GetInput(name), func(r rune) bool { return unicode.IsSpace(r) || r == '\uFEFF' })
}

// Info prints text. However many lines it has, none of them is a workflow command.
func (a *Action) Info(text string) {
	for line := range strings.Lines(text) {
		a.writeLine(a.inert(strings.TrimRight(line, "\r\n")))
	}
}

// Group folds what follows under title, up to EndGroup. Groups do not nest.
func (a *Action) Group(title string) {
	if a.Running() {
		a.command("group", "", title)
		return
	}
	a.Info("=== " + oneLine(title))
}

// EndGroup ends the group.
func (a *Action) EndGroup() {
	if a.Running() {
		a.command("endgroup", "", "")
	}
}

// Notice annotates the run with what a person may want to know. The title may be empty.
// The runner keeps 10 annotations of each kind for a step, and 4,096 characters of each.
func (a *Action) Notice(title, message string) { a.annotate("notice", title, message) }

// Warning annotates the run with what a person should know.
func (a *Action) Warning(title, message string) { a.annotate("warning", title, message) }

// Error annotates the run with what went wrong. It does not end the step.
func (a *Action) Error(title, message string) { a.annotate("error", title, message) }

// annotate prints message as a workflow command; on a laptop, as a line or more of text.
func (a *Action) annotate(kind, title, message string) {
	switch {
	case a.Running():
		a.command(kind, title, message)
	case title == "":
		a.Info(kind + ": " + message)
	default:
		a.Info(kind + ": " + oneLine(title) + ": " + message)
	}
}

// command writes a workflow command. The library escapes what would end its data (%, CR,
// LF) and, in a property, : and , as well.
func (a *Action) command(name, title, message string) {
	c := &githubactions.Command{Name: name, Message: a.Redact(cleanLines(message))}
	if title != "" {
		c.Properties = githubactions.CommandProperties{"title": a.Redact(clean(oneLine(title)))}
	}
	a.runner().IssueCommand(c)
}

// runner returns the library's view of a.
func (a *Action) runner() *githubactions.Action {
	return githubactions.New(githubactions.WithWriter(log{a}), githubactions.WithGetenv(a.env))
}

func (a *Action) env(name string) string {
	if a.Getenv == nil {
		return ""
	}
	return a.Getenv(name)
}

func (a *Action) writeLine(line string) { _, _ = log{a}.Write([]byte(line + "\n")) }

// A log is an Action's Stdout, written to by one goroutine at a time and without
// complaint: the library would panic.
type log struct{ a *Action }

func (l log) Write(p []byte) (int, error) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	if l.a.Stdout != nil {
		_, _ = l.a.Stdout.Write(p) // see Action.Stdout
	}
	return len(p), nil
}

// oneLine returns s on one line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
