package actions

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// A Log stands between an Action and the runner, and keeps nobody waiting for long: when
// whoever reads the other end stops, what does not fit in a megabyte is lost, and said to
// be. It is ready as a literal. Close must be called, or the last lines may be missing.
type Log struct {
	W io.Writer

	mu      sync.Mutex
	waiting bytes.Buffer
	moved   chan struct{} // closed, and made anew, whenever W has taken something
	wake    chan struct{} // told that something waits
	stuck   bool          // W took nothing for as long as we wait
	lost    int           // lines, since W last took something
	closed  bool
}

const (
	logRoom = 1 << 20
	// logPatience is how long W may take nothing at all before lines are dropped. A
	// cancelled run has not got a second more.
	logPatience = 500 * time.Millisecond
	// logEnd is how long Close waits altogether.
	logEnd = 2 * time.Second
)

// Write takes whole lines. It never fails; after Close it does nothing.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(p), nil
	}
	l.begin()
	for l.waiting.Len() > 0 && l.waiting.Len()+len(p) > logRoom && !l.stuck {
		l.stuck = !l.wait(logPatience)
	}
	if l.stuck && l.waiting.Len()+len(p) > logRoom {
		l.lost += bytes.Count(p, []byte("\n"))
		return len(p), nil
	}
	l.waiting.Write(p)
	select {
	case l.wake <- struct{}{}:
	default: // it has been told
	}
	return len(p), nil
}

// Close waits until everything has been written, as long as something still is.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.moved == nil {
		l.closed = true
		return nil
	}
	l.closed = true
	for end := time.Now().Add(logEnd); l.waiting.Len() > 0 && time.Now().Before(end); {
		if !l.wait(logPatience) {
			break
		}
	}
	close(l.wake)
	return nil
}

// wait reports whether W has taken something within d. l.mu is held, but for the waiting.
func (l *Log) wait(d time.Duration) bool {
	moved := l.moved
	l.mu.Unlock()
	defer l.mu.Lock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-moved:
		return true
	case <-t.C:
		return false
	}
}

// begin starts the one goroutine that writes to W. It ends after Close; if a write does
// not return, with the process.
func (l *Log) begin() {
	if l.moved != nil {
		return
	}
	l.moved, l.wake = make(chan struct{}), make(chan struct{}, 1)
	go func() {
		for range l.wake {
			for l.pass() {
			}
		}
	}()
}

// pass writes what waits, and reports whether there was something. It stays in the buffer
// until it has been written, so that Close knows.
func (l *Log) pass() bool {
	l.mu.Lock()
	p := bytes.Clone(l.waiting.Bytes())
	l.mu.Unlock()
	if len(p) == 0 {
		return false
	}
	_, _ = l.W.Write(p) // see Action.Stdout
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting.Next(len(p))
	if l.stuck = false; l.lost > 0 {
		fmt.Fprintf(&l.waiting, "%d lines are missing here: nobody read the log.\n", l.lost)
		l.lost = 0
	}
	close(l.moved)
	l.moved = make(chan struct{})
	return true
}
