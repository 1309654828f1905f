package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/pregoi/provision-tenant/internal/actions"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A mark is what the main part leaves for the post part, in a file in the runner's
// temporary folder, which both have mounted. The post part runs in a container of its own:
// it sees none of the main part's processes. So the main part holds a lock on the file, and
// the kernel gives that back when it has died, however that was.
//
// The file has a line of JSON for each thing that happened. A line that a killed main part
// has not written to its end counts for nothing.
type mark struct {
	mu sync.Mutex
	f  *os.File // nil where nobody reads it
}

// A happening is one line of a mark.
type happening struct {
	Interrupted bool `json:"interrupted,omitempty"` // somebody asked the main part to stop
	// Ended is the last line: the main part has told whoever it could, but for what follows.
	Ended      bool                  `json:"ended,omitempty"`
	Completion *provision.Completion `json:"completion,omitempty"`
	Events     []provision.Event     `json:"events,omitempty"`
}

const (
	markState = "mark"                     // the name under which the runner keeps where the mark is
	markName  = "provision-tenant-*.jsonl" // what it is called
	maxMark   = 32 << 20                   // bytes; all events of a run are a fraction of that
)

// leaveMark begins a mark. It says nothing: no secret has been masked yet, and without a
// mark the post part asks the control plane what became of the job.
func leaveMark(ctx context.Context, gha *actions.Action, getenv func(string) string) *mark {
	m := &mark{}
	if !gha.Running() || getenv("GITHUB_STATE") == "" {
		return m
	}
	f, err := os.CreateTemp(tempDir(getenv), markName)
	if err != nil {
		return m
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil || gha.SaveState(markState, f.Name()) != nil {
		_, _ = os.Remove(f.Name()), f.Close()
		return m
	}
	m.f = f
	context.AfterFunc(ctx, func() { m.add(happening{Interrupted: true}) })
	return m
}

// add writes a line. One that cannot be written is not there for the post part, which then
// does more than it had to.
func (m *mark) add(h happening) {
	m.mu.Lock()
	defer m.mu.Unlock()
	line, err := json.Marshal(h)
	if err != nil || m.f == nil {
		return
	}
	_, _ = m.f.Write(append(line, '\n'))
}

// end says that the main part has come to its end, and what it still owes the control plane.
func (m *mark) end(gha *actions.Action, rep report, lost []provision.Event) {
	last := happening{Ended: true, Events: lost}
	if rep.owed != nil {
		c := *rep.owed
		c.Error = gha.Redact(c.Error)
		last.Completion = &c
	}
	m.add(last)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.f != nil {
		_ = m.f.Close() // which gives the lock back; every line has been written
		m.f = nil
	}
}

// aliveTime is how long the post part waits for a main part that is still there: it has
// been told to stop, and stops within 7 s.
const aliveTime = 15 * time.Second

// readMark reads what the main part has left in dir; known is false if it left nothing. While the
// main part is alive it waits, and after aliveTime it answers [provision.Busy].
func readMark(ctx context.Context, gha *actions.Action, dir string) (all happening, known bool, err error) {
	name := gha.State(markState)
	// A program that was run may have written the state too, and the mark: it is root here.
	if ours, _ := filepath.Match(filepath.Join(dir, markName), name); !ours {
		return all, false, nil
	}
	if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() || info.Size() > maxMark {
		return all, false, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return all, false, nil // its folder is not mounted here
	}
	defer f.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(ctx, aliveTime)
	defer cancel()
	for syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return all, true, provision.Errorf(provision.Busy, "the main part of the action is still running, and is left alone")
		}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return all, false, nil
	}
	for line := range bytes.Lines(data) {
		var h happening
		if json.Unmarshal(line, &h) != nil {
			continue
		}
		all.Interrupted = all.Interrupted || h.Interrupted
		if h.Ended {
			all.Ended, all.Completion, all.Events = true, h.Completion, h.Events
		}
	}
	_ = os.Remove(name) // what stays goes with the runner's folder
	return all, true, nil
}

// tempDir is a folder that the main part and the post part have in common: RUNNER_TEMP, or
// HOME where a runner is too old to mount that. Outside the runner it is the system's.
func tempDir(getenv func(string) string) string {
	for _, dir := range []string{getenv("RUNNER_TEMP"), getenv("HOME")} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && getenv("GITHUB_ACTIONS") == "true" {
			return dir
		}
	}
	return os.TempDir()
}
