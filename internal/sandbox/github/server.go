// Package github stands in for GitHub: the part of its REST API that a dispatcher uses,
// and the runner that carries out what was dispatched.
//
// It reads a repository's own workflow files, checks a dispatch against them as GitHub
// does, evaluates their expressions with act's parser, queues runs by their concurrency
// groups, and starts the action of `uses: ./`, and then its post part, as the runner would:
// with its inputs, its file commands and nothing of ours in its environment, as a process or
// in a container. It runs no other action and no script. It forgets everything when it is closed.
//
// To add a route, name it in Handler and give it a method in the file of its kind. To add
// a workflow command, give it a case in commands.go.
package github

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// Options say what the stand-in knows. Repo, Files and Token are required.
type Options struct {
	Repo string // "owner/name"
	// Files is the repository's content, the same at every ref: .github/workflows, and the
	// action.yml of `uses: ./`. It is read anew for each dispatch.
	Files fs.FS
	Refs  []string // branches and tags; the first is the default branch; empty for main alone
	Token string   // what the API takes as a bearer token, and the runner as github.token
	App   *App     // a GitHub App whose installation may use the API too; nil for none

	OldNames []string // "owner/name" that Repo had before: they answer with a redirect
	Disabled []string // workflow files that somebody has disabled

	Runner    Runner     // who carries the runs out
	Action    string     // path of the program that `uses: ./` starts
	Container *Container // what it starts instead, as GitHub does; nil for Action

	Secrets map[string]string // the secrets context; every value is masked
	Vars    map[string]string // the vars context
	Env     []string          // what the action's process gets besides what the runner gives: "NAME=value"
	Dir     string            // where runs get their folders; empty for the system's temporary folder
	Runners int               // how many jobs run at once; 0 for 20, as on GitHub's free plan

	// Started is called when the action's process of a run has been started; nil for nobody.
	Started func(run int64, pid int)
	// What a cancelled process has until SIGTERM after its SIGINT, and until SIGKILL after
	// that; 0 for the runner's own 7.5 and 2.5 seconds.
	InterruptWait, TerminateWait time.Duration

	RunDetails RunDetails
	Limits     Limits
	// Now is GitHub's clock, for the Date of an answer, its limits and an App's tokens; nil for
	// time.Now.
	Now func() time.Time
}

// RunDetails says what the server makes of return_run_details in a dispatch.
type RunDetails int

// How servers of different age answer.
const (
	DetailsGiven   RunDetails = iota // 200 with the run's id, as on github.com today
	DetailsIgnored                   // 204, with and without
	DetailsRefused                   // 400: the key is not permitted, as before GitHub Enterprise Server 3.21
)

// A Runner says who carries runs out.
type Runner int

// The runners.
const (
	// RunnerActs starts the action of `uses: ./` as a process.
	RunnerActs Runner = iota
	// RunnerAway is none: runs are queued, and wait for their concurrency group, until
	// [Server.Steer] moves them.
	RunnerAway
	// RunnerInstant has every run succeed in the moment in which it is made.
	RunnerInstant
)

// A Server is the stand-in. Make one with [New].
type Server struct {
	Faults standin.Faults // what goes wrong with requests to the API

	opts   Options
	slots  chan struct{} // one for each runner
	limits limiter
	apps   issuer
	known  definitions
	over   chan struct{} // closed: what a run's done is when it has ended at once

	mu     sync.Mutex
	closed bool
	base   string  // the API's address, as the last request named it
	runs   []*run  // in the order of their ids; nil where one was dropped
	queued moments // when runs were queued, in the last ten seconds
	groups map[string]*group
	work   sync.WaitGroup // the attempts that are under way
}

// New returns a stand-in for one repository. Close ends what it has started.
func New(o Options) *Server {
	if len(o.Refs) == 0 {
		o.Refs = []string{"main"}
	}
	if abs, err := filepath.Abs(o.Action); err == nil && o.Action != "" {
		o.Action = abs // the process starts in a folder of its own
	}
	o.InterruptWait = cmp.Or(o.InterruptWait, 7500*time.Millisecond)
	o.TerminateWait = cmp.Or(o.TerminateWait, 2500*time.Millisecond)
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		opts:   o,
		slots:  make(chan struct{}, cmp.Or(o.Runners, 20)),
		limits: limiter{Limits: o.Limits.orDefault()},
		over:   make(chan struct{}),
		groups: map[string]*group{},
	}
	close(s.over)
	return s
}

// Handler returns the API, and below /{owner}/{name}/actions/runs/{id} a page for people.
func (s *Server) Handler() http.Handler {
	api := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) answer) {
		api.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, f) })
	}
	// A repository has an address by its name and one by its id, where redirects lead.
	for _, repo := range []string{"/repos/{owner}/{repo}", "/repositories/" + repoID} {
		handle("GET "+repo, s.getRepo)
		handle("GET "+repo+"/contents/{path...}", s.getContents)
		handle("GET "+repo+"/actions/workflows", s.listWorkflows)
		handle("GET "+repo+"/actions/workflows/{workflow}", s.getWorkflow)
		handle("POST "+repo+"/actions/workflows/{workflow}/dispatches", s.postDispatch)
		handle("GET "+repo+"/actions/workflows/{workflow}/runs", s.listRuns)
		handle("GET "+repo+"/actions/runs", s.listRuns)
		handle("GET "+repo+"/actions/runs/{id}", s.getRun)
		handle("GET "+repo+"/actions/runs/{id}/jobs", s.listJobs)
		handle("POST "+repo+"/actions/runs/{id}/cancel", s.postCancel)
		handle("POST "+repo+"/actions/runs/{id}/rerun", s.postRerun)
	}
	handle("GET /rate_limit", s.getRateLimit)
	handle("GET /app", s.getApp)
	handle("POST /app/installations/{installation}/access_tokens", s.postAccessToken)
	handle("/", func(*http.Request) answer { return notFound() })

	mux, faulty := http.NewServeMux(), s.Faults.Wrap(api)
	mux.Handle("/", faulty)
	mux.HandleFunc("GET /{owner}/{repo}/actions/runs/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("owner") == "repositories" { // it only looks like a page
			faulty.ServeHTTP(w, r)
			return
		}
		s.page(w, r)
	})
	return mux
}

// Close cancels every run, waits until their processes have ended, and refuses further
// dispatches. When ctx ends first, the processes are killed.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for _, r := range s.runs {
		if r != nil {
			s.cancel(r)
		}
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for _, r := range s.runs {
		if r != nil {
			r.attempt.kill()
		}
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}

// sha returns the commit that a ref stands for. There is no git behind it: it is a
// function of the names.
func (s *Server) sha(ref string) string {
	sum := sha1.Sum([]byte(s.opts.Repo + "@" + ref))
	return hex.EncodeToString(sum[:])
}
