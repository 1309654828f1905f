package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/pregoi/provision-tenant/internal/sandbox/github"
)

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
