package actions_test

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/actions"
)

// A log that is read gets everything, in order, and Close waits for it.
func TestLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := &actions.Log{W: &out}
	a := &actions.Action{Stdout: l, Getenv: environment("GITHUB_ACTIONS", "true")}
	var want strings.Builder
	for range 1000 {
		a.Info("a line")
		want.WriteString("a line\n")
	}
	if err := l.Close(); err != nil || out.String() != want.String() {
		t.Errorf("Close = %v; %d bytes were written, want %d", err, out.Len(), want.Len())
	}
}

// Nobody waits long for a reader who has stopped; when it goes on, it learns what it missed.
// Nor does Close, for one who has stopped for good.
func TestLogStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		l := &actions.Log{W: w}
		start := time.Now()
		for range 3000 {
			_, _ = io.WriteString(l, strings.Repeat("x", 999)+"\n")
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("3 MB for nobody took %v", took)
		}
		var got bytes.Buffer
		var read sync.WaitGroup
		read.Go(func() { _, _ = io.Copy(&got, r) })
		synctest.Wait()
		_, _ = io.WriteString(l, "the last line\n")
		_ = l.Close()
		_ = w.Close()
		read.Wait()
		lines := strings.Count(got.String(), strings.Repeat("x", 999)+"\n")
		if lines < 1000 || lines > 1200 || !strings.Contains(got.String(), " lines are missing here") || !strings.HasSuffix(got.String(), "\nthe last line\n") {
			t.Errorf("the reader got %d lines, and at the end %q", lines, got.String()[max(0, got.Len()-100):])
		}

		r, w = io.Pipe()
		l = &actions.Log{W: w}
		_, _ = io.WriteString(l, "for nobody\n")
		start = time.Now()
		if err := l.Close(); err != nil || time.Since(start) > time.Second {
			t.Errorf("Close = %v after %v", err, time.Since(start))
		}
		_ = r.Close()
	})
}
