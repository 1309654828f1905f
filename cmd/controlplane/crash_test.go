package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/github"
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
		"DATABASE_URL=sqlite://" + w.database, "INTERNAL_API_KEY=" + crashKey, "GITHUB_TOKEN=t0k3n", "GITHUB_API_URL=" + g.url}
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

// inspect checks a copy of the file as it was left: whole, with everything that was
// acknowledged, and with nothing that is half there.
func (w *crashWorld) inspect(t *testing.T) {
	t.Helper()
	w.loader.mu.Lock()
	acked := w.loader.acked[:len(w.loader.acked):len(w.loader.acked)]
	w.loader.mu.Unlock()
	dir := t.TempDir()
	for _, name := range []string{"test.db", "test-dispatches.db"} {
		for _, suffix := range []string{"", "-wal"} {
			data, err := os.ReadFile(filepath.Join(w.dir, name+suffix))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name+suffix), data, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		db := openFile(t, filepath.Join(dir, name))
		if got := query[string](t, db, "PRAGMA integrity_check"); len(got) != 1 || got[0] != "ok" {
			t.Errorf("%s: integrity_check: %q", name, got)
		}
		if name == "test.db" {
			w.compare(t, db, acked)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// compare checks that every acknowledged order is in the database, and nothing by halves.
func (w *crashWorld) compare(t *testing.T, db *sql.DB, acked []*order) {
	t.Helper()
	have := map[string]bool{}
	for _, id := range query[string](t, db, "SELECT job_id FROM provision_jobs") {
		have[id] = true
	}
	for _, o := range acked {
		if !have[o.jobID] {
			t.Errorf("job %s of order %s was acknowledged and is not there", o.jobID, o.key)
		}
	}
	for _, what := range []struct{ about, query string }{
		{"jobs without their tenant", "SELECT job_id FROM provision_jobs WHERE tenant_id NOT IN (SELECT tenant_id FROM tenants_master)"},
		{"tenants without a job", "SELECT tenant_id FROM tenants_master WHERE tenant_id NOT IN (SELECT tenant_id FROM provision_jobs)"},
		{"tenants with two jobs", "SELECT tenant_id FROM provision_jobs GROUP BY tenant_id HAVING count(*) > 1"},
		{"jobs without their one audit entry", "SELECT job_id FROM provision_jobs WHERE (SELECT count(*) FROM audit_logs a WHERE a.job_id = provision_jobs.job_id AND action = 'enqueue') <> 1"},
		{"jobs without their key", "SELECT job_id FROM provision_jobs WHERE job_id NOT IN (SELECT job_id FROM idempotency_keys)"},
		{"jobs that River forgot", `SELECT job_id FROM provision_jobs WHERE status = 'Pending' AND job_id NOT IN
			(SELECT cast(args AS TEXT) ->> 'job_id' FROM river_job WHERE finalized_at IS NULL)`},
		{"jobs with a report and without a run", "SELECT job_id FROM provision_jobs WHERE status = 'Completed' AND run_url = ''"},
	} {
		if got := query[string](t, db, what.query); len(got) > 0 {
			t.Errorf("%s: %q", what.about, got)
		}
	}
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

// count compares what is stored in the end with what was ordered and what was started.
func (w *crashWorld) count(t *testing.T, db *sql.DB) {
	t.Helper()
	orders := len(w.loader.acked)
	t.Logf("%d orders, %d runs, %d requests answered", orders, len(w.github.stand.Runs()), w.loader.answered.Load())
	if n := w.loader.ordered.Load(); int64(orders) != n {
		t.Errorf("%d orders were acknowledged of %d", orders, n)
	}
	if got := query[int](t, db, "SELECT count(*) FROM provision_jobs"); got[0] != orders {
		t.Errorf("there are %d jobs after %d orders", got[0], orders)
	}
	if got := query[string](t, db, "SELECT job_id || ' is ' || status || ' in attempt ' || attempt || ' by run ' || run_id || ' after ' || past_run_id FROM provision_jobs WHERE status <> 'Completed'"); len(got) > 0 {
		t.Errorf("jobs that were not completed: %q", got)
	}
	if got := query[int](t, db, "SELECT count(*) FROM river_job WHERE finalized_at IS NULL AND kind = 'trigger'"); got[0] != 0 {
		t.Errorf("River has %d jobs left", got[0])
	}
	if got := query[int](t, db, "SELECT count(*) FROM trace_events"); got[0] != w.loader.events {
		t.Errorf("there are %d events after %d that were acknowledged", got[0], w.loader.events)
	}
	stored := map[string]bool{}
	for _, id := range query[string](t, db, "SELECT node_id FROM nodes") {
		stored[id] = true
	}
	for id := range w.loader.nodes {
		if !stored[id] {
			t.Errorf("node %s was acknowledged and is not there", id)
		}
	}
	runs := map[string]int{}
	for _, r := range w.github.stand.Runs() {
		runs[r.Inputs["job_id"].(string)]++
	}
	attempts := 0
	for _, row := range query[string](t, db, "SELECT job_id || ' ' || attempt FROM provision_jobs") {
		id, text, _ := strings.Cut(row, " ")
		n, _ := strconv.Atoi(text)
		if attempts += n; runs[id] != n {
			t.Errorf("job %s has %d runs after %d attempts: %q", id, runs[id], n, query[string](t, db,
				"SELECT at || ' ' || actor || ' ' || detail FROM audit_logs WHERE job_id = '"+id+"' AND action = 'status' ORDER BY id"))
		}
	}
	if attempts <= orders {
		t.Errorf("%d attempts of %d jobs: none was tried again", attempts, orders)
	}
}

func openFile(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// query returns the only column of all rows; none before there are tables.
func query[T any](t *testing.T, db *sql.DB, text string) (list []T) {
	t.Helper()
	rows, err := db.Query(text)
	if err != nil {
		if !strings.Contains(err.Error(), "no such table") {
			t.Errorf("%s: %v", text, err)
		}
		return nil
	}
	defer rows.Close()
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			t.Error(err)
		}
		list = append(list, v)
	}
	if err := rows.Err(); err != nil {
		t.Error(err)
	}
	return list
}

// A serving is a control plane in a process of its own.
type serving struct {
	cmd  *exec.Cmd
	url  chan string // where it listens, once
	log  bytes.Buffer
	read chan struct{} // closed when the log has ended
}

// startServer starts controlplane serve. Its owner kills or stops it.
func startServer(t *testing.T, env []string, args ...string) *serving {
	t.Helper()
	s := &serving{cmd: exec.Command("controlplane", append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...),
		url: make(chan string, 1), read: make(chan struct{})}
	s.cmd.Env = env
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.read)
		for lines := bufio.NewScanner(io.TeeReader(pipe, &s.log)); lines.Scan(); {
			var line struct{ Msg, Addr string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				s.url <- "http://" + line.Addr
			}
		}
	}()
	return s
}

// listening waits until it listens, and returns where.
func (s *serving) listening(t *testing.T) string {
	t.Helper()
	select {
	case url := <-s.url:
		return url
	case <-s.read:
		t.Fatalf("it did not listen: %v\n%s", s.cmd.Wait(), s.log.String())
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.read
		t.Fatalf("it does not listen: %s", s.log.String())
	}
	return ""
}

// kill kills it, and returns its log.
func (s *serving) kill(t *testing.T) string {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	<-s.read
	if err := s.cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended by itself: %v\n%s", err, s.log.String())
	}
	return s.log.String()
}

// stop lets it finish, and returns its log.
func (s *serving) stop(t *testing.T) string {
	t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	<-s.read
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("it did not end well: %v\n%s", err, s.log.String())
	}
	return s.log.String()
}

// Inputs are those of a run that matter here.
type inputs struct {
	Job       string `json:"job_id"`
	Tenant    string `json:"tenant_id"`
	Region    string `json:"region"`
	Target    string `json:"target_server_id"`
	Dedicated string `json:"dedicated"`
}

// A run is one that was started.
type run struct {
	inputs
	url     string
	attempt int // of the job: the how manieth run it is
}

// A gitHub counts the runs that are started at a stand-in, and kills who starts them.
type gitHub struct {
	url     string
	stand   *github.Server
	api     http.Handler
	started chan run

	mu       sync.Mutex
	runs     map[string]int  // by job
	stricken map[string]bool // jobs at which somebody was killed
	victim   *exec.Cmd       // killed at the next request for a run; nil for nobody
	after    bool            // when the run is started, and not before
	struck   chan struct{}
}

func newGitHub(t *testing.T) *gitHub {
	g := &gitHub{started: make(chan run, 10_000), runs: map[string]int{}, stricken: map[string]bool{},
		stand: github.New(github.Options{Repo: "o/r", Files: os.DirFS("../.."), Token: "t0k3n", Runner: github.RunnerInstant, Limits: github.Unlimited()})}
	g.api = g.stand.Handler()
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	g.url = s.URL
	return g
}

// count is how many jobs have a run.
func (g *gitHub) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.runs)
}

// strike has the victim killed at the next request for a run, and returns a channel that is
// closed then.
func (g *gitHub) strike(after bool, victim *exec.Cmd) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.victim, g.after, g.struck = victim, after, make(chan struct{})
	return g.struck
}

// strikes kills the victim where it is time to, and reports whether it has. No job is struck
// twice: its next request would come a minute after that, and then later and later.
func (g *gitHub) strikes(job string, after bool) bool {
	if g.victim == nil || g.after != after || g.stricken[job] {
		return false
	}
	_ = g.victim.Process.Kill() // it may have ended already
	g.victim, g.stricken[job] = nil, true
	close(g.struck)
	return true
}

func (g *gitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/dispatches") {
		g.api.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	var sent struct{ Inputs inputs }
	if err != nil || json.Unmarshal(body, &sent) != nil {
		return // who has sent it was killed meanwhile
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.strikes(sent.Inputs.Job, false) {
		panic(http.ErrAbortHandler)
	}
	answer := httptest.NewRecorder()
	g.api.ServeHTTP(answer, r)
	var started struct {
		URL string `json:"html_url"`
	}
	if answer.Code == http.StatusOK && json.Unmarshal(answer.Body.Bytes(), &started) == nil {
		g.runs[sent.Inputs.Job]++
		g.started <- run{sent.Inputs, started.URL, g.runs[sent.Inputs.Job]}
	}
	if g.strikes(sent.Inputs.Job, true) {
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}
