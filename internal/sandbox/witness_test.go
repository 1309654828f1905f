package sandbox

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A witness notes when effects come, and how late this machine is: on a busy one, nothing
// happens when it is due.
type witness struct {
	mu      sync.Mutex
	effects []effect
	late    time.Duration
	quit    chan struct{}
	done    chan struct{}
}

type effect struct {
	call call
	at   time.Time
}

// see notes a request that makes something for a tenant. Events and completions do not.
func (w *witness) see(where string, r *http.Request) {
	if r.Method == http.MethodGet || where == "controlplane" && !strings.HasSuffix(r.URL.Path, "/internal/nodes") {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.effects = append(w.effects, effect{callOf(r), time.Now()})
}

func (w *witness) watch() {
	w.quit, w.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(w.done)
		const due = 5 * time.Millisecond
		tick := time.NewTicker(due)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-w.quit:
				return
			case <-tick.C:
			}
			now := time.Now()
			w.late = max(w.late, now.Sub(last)-due)
			last = now
		}
	}()
}

// end returns how late the machine was at worst.
func (w *witness) end() time.Duration {
	close(w.quit)
	<-w.done
	w.mu.Lock() // nobody adds to effects any more
	defer w.mu.Unlock()
	return w.late
}

// remains returns what a run has left that it should not: private folders of Pulumi's, and
// processes that it has started.
func (a *acting) remains() []string {
	left, _ := filepath.Glob(filepath.Join(a.file("RUNNER_TEMP"), "prego-pulumi-*"))
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(env), "\x00TMPDIR="+a.file("RUNNER_TEMP")+"/") {
			name, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			left = append(left, strings.ReplaceAll(string(name), "\x00", " "))
		}
	}
	return left
}

// durations are how long something took, each time.
type durations struct {
	mu   sync.Mutex
	list []time.Duration
}

func (d *durations) add(took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, took)
}

// report says in the test's log how long it took from SIGINT to exit.
func (d *durations) report(t *testing.T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) == 0 {
		return
	}
	slices.Sort(d.list)
	at := func(p float64) time.Duration {
		return d.list[min(len(d.list)-1, int(p*float64(len(d.list))))].Round(time.Millisecond)
	}
	t.Logf("seconds from SIGINT to exit, %d runs: p50 %.3f, p99 %.3f", len(d.list), at(.5).Seconds(), at(.99).Seconds())
}
