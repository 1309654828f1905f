package github

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
)

// What the runner keeps of a step at most.
const (
	maxSummary     = 1 << 20 // bytes
	maxNotes       = 10      // annotations of one level in one step
	maxNote        = 4096    // characters of an annotation
	maxLog         = 16 << 20
	maxLine        = 1 << 20
	maskedText     = "***"
	summaryTooLong = "$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of 1024k, got %dk. For more information see: https://docs.github.com/actions/using-workflows/workflow-commands-for-github-actions#adding-a-markdown-summary"
)

// An Annotation is a note about a run that GitHub shows with it.
type Annotation struct {
	Level   string // error, warning or notice
	Title   string
	File    string
	Line    string
	Message string // masked
}

// A journal is the log of an attempt, with what the log's commands ask for. It is safe
// for concurrent use: the action writes on two streams.
type journal struct {
	mu      sync.Mutex
	log     strings.Builder
	summary strings.Builder
	notes   []Annotation
	inStep  map[string]int    // notes of this step, by level
	masks   []string          // the longest first
	outputs map[string]string // of this step, by the old set-output command
	token   string            // of stop-commands; empty when commands are obeyed
}

func newJournal(secrets []string) *journal {
	j := &journal{inStep: map[string]int{}, outputs: map[string]string{}}
	for _, secret := range secrets {
		j.mask(secret)
	}
	return j
}

// read returns what has been kept so far.
func (j *journal) read() (log, summary string, notes []Annotation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.log.String(), j.summary.String(), slices.Clone(j.notes)
}

// begin starts a step: its commands are obeyed, whatever the last one said.
func (j *journal) begin() {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.inStep)
	clear(j.outputs)
	j.token = ""
}

// end hands over the outputs that the step has set by commands.
func (j *journal) end(outputs map[string]string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for name, value := range j.outputs {
		outputs[name] = value
	}
}

// print appends a line to the log, masked.
func (j *journal) print(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.append(line)
}

// note is print for what is also shown as an annotation.
func (j *journal) note(level, message string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.annotate(Annotation{Level: level, Message: message})
}

func (j *journal) append(line string) {
	if j.log.Len() > maxLog {
		return
	}
	j.log.WriteString(j.hide(line))
	j.log.WriteByte('\n')
}

func (j *journal) annotate(a Annotation) {
	a.Message = j.hide(a.Message)
	a.Title = j.hide(a.Title)
	j.append("##[" + a.Level + "]" + a.Message)
	if r := []rune(a.Message); len(r) > maxNote {
		a.Message = string(r[:maxNote])
	}
	if j.inStep == nil {
		j.inStep = map[string]int{}
	}
	if j.inStep[a.Level]++; j.inStep[a.Level] <= maxNotes {
		j.notes = append(j.notes, a)
	}
}

// summarize adds a step's summary, masked. One that is too long is not kept at all.
func (j *journal) summarize(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(data) > maxSummary {
		return fmt.Errorf(summaryTooLong, len(data)/1024)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.summary.WriteString(j.hide(string(data)))
	return nil
}

// masked reports whether text holds a secret.
func (j *journal) masked(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.hide(text) != text
}
