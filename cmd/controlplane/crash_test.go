package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestCrash kills a control plane again and again, at any moment and at the request for a
// run, while tenants are ordered, runs report and nodes push metrics; the next process goes
// on with the same file. What was acknowledged is never lost or said otherwise, and every
// attempt of a job starts one run. CONTROLPLANE_KILLS says how often.
func TestCrash(t *testing.T) {
	kills := 60
	if testing.Short() {
		kills = 8
	}
	if v := os.Getenv("CONTROLPLANE_KILLS"); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for n := 0; n < kills && !t.Failed(); {
		// A database grows with its jobs, and so does the time to check it.
		w := newCrashWorld(t)
		for lives := min(60, kills-n); lives > 0 && !t.Failed(); lives-- {
			w.live(t, r)
			w.inspect(t)
			n++
		}
		if w.finish(t); t.Failed() {
			t.Logf("after %d kills: %s", n, w.log)
		}
	}
}

// A crashWorld is one file, and those around the control planes that work on it.
type crashWorld struct {
	dir, database string
	env           []string
	github        *gitHub
	loader        *loader
	loaded        chan struct{} // closed when the loader has ended
	log           string        // of the last process
}

func newCrashWorld(t *testing.T) *crashWorld {
	g := newGitHub(t)
	dir := t.TempDir()
	w := &crashWorld{dir: dir, database: filepath.Join(dir, "test.db"), github: g, loaded: make(chan struct{})}
	w.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"),
		"DATABASE_URL=sqlite://" + w.database, "INTERNAL_API_KEY=" + crashKey, "GITHUB_TOKEN=t0k3n", "GITHUB_API_URL=" + g.url,
		"PLACEMENT_MAX_TENANTS_PER_NODE=100000"} // a job whose node has filled up meanwhile is not retried
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	t.Cleanup(transport.CloseIdleConnections)
	w.loader = &loader{t: t, client: &http.Client{Transport: transport, Timeout: 30 * time.Second}, github: g, most: 1200, waiting: 30,
		closing: make(chan struct{}), ended: map[string]string{}, nodes: map[string]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	first := w.start(t)
	w.loader.at.set(first.listening(t))
	for i := range 2 {
		body := `{"node_id":"shared-` + strconv.Itoa(i) + `","region":"sg","host":"192.0.2.7"}`
		w.loader.send(ctx, "POST", "/internal/nodes", body, "", http.StatusCreated)
	}
	first.kill(t)
	w.loader.at.set("")
	go func() {
		defer close(w.loaded)
		w.loader.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-w.loaded
	})
	return w
}

// start starts a control plane that starts runs itself. What was interrupted while a run was
// asked for is looked for after a second, and not after three minutes.
func (w *crashWorld) start(t *testing.T) *serving {
	return startServer(t, w.env, "--repo", "o/r", "--gap", "0", "--per-minute", "0", "--per-hour", "0", "--lease", "1s", "--window", "1s")
}

// live starts a control plane and kills it.
func (w *crashWorld) live(t *testing.T, r *rand.Rand) {
	t.Helper()
	s := w.start(t)
	switch r.IntN(6) {
	case 0: // while it opens its file
		wait(t.Context(), time.Duration(r.IntN(100))*time.Millisecond)
	case 1: // at a request for a run: before it has its effect, or when it has
		struck := w.github.strike(r.IntN(2) == 0, s.cmd)
		w.loader.at.set(s.listening(t))
		select {
		case <-struck:
		case <-time.After(time.Second): // none was asked for
		}
		w.github.strike(false, nil)
	default:
		w.loader.at.set(s.listening(t))
		wait(t.Context(), time.Duration(r.IntN(250))*time.Millisecond)
	}
	w.loader.at.set("")
	w.log = s.kill(t)
}

// finish lets a last control plane do what is left, and checks that every order has come to
// its end, by one run for each attempt.
func (w *crashWorld) finish(t *testing.T) {
	t.Helper()
	close(w.loader.closing)
	s := w.start(t)
	w.loader.at.set(s.listening(t))
	for restarts := 0; !w.settles(); restarts++ {
		if restarts == 5 {
			t.Errorf("%d of %d jobs have come to their end", len(w.loader.ended), len(w.loader.acked))
			break
		}
		w.loader.at.set("")
		s.stop(t)
		w.anHourPasses(t)
		s = w.start(t)
		w.loader.at.set(s.listening(t))
	}
	var all sync.WaitGroup
	for part := range 8 {
		all.Go(func() {
			for i := part; i < len(w.loader.acked); i += 8 {
				w.loader.again(t.Context(), w.loader.acked[i])
			}
		})
	}
	all.Wait()
	w.log = s.stop(t)
	w.inspect(t)
	db := openFile(t, w.database)
	w.count(t, db)
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// settles waits until every order has come to its end, but not long.
func (w *crashWorld) settles() bool {
	select {
	case <-w.loaded:
		return true
	case <-time.After(8 * time.Second):
		return false
	}
}

// anHourPasses moves what is remembered of the time back, while no process runs: a request
// for a run that was lost twice is sent again after a minute, and then later and later.
func (w *crashWorld) anHourPasses(t *testing.T) {
	t.Helper()
	for name, statement := range map[string]string{
		"test.db":            "UPDATE river_job SET scheduled_at = created_at WHERE finalized_at IS NULL",
		"test-dispatches.db": "UPDATE dispatch_ledger SET until_at = until_at - 3600000000000, look_at = look_at - 3600000000000",
	} {
		db := openFile(t, filepath.Join(w.dir, name))
		if _, err := db.Exec(statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
