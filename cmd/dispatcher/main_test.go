package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){
		"dispatcher": main,
		"true":       func() {}, // the action that the stand-in's runs start
	})
}

// The scripts in testdata/dispatcher run the real program against the stand-in for
// GitHub, whose repository pregoi/prego is the script's folder. Beside testscript's own
// commands they have
//
//	github given|ignored|refused [away]  start anew, with that answer to return_run_details,
//	                                and with nobody to carry runs out
//	fault STATUS BODY [NAME=VALUE]  answer every dispatch so; a status of 0 loses the answer
//	nofault                         answer again as GitHub does
//	status N PROGRAM [ARG...]       run it, and want that exit status
//	runs FILE                       write a line for each run into FILE: its name and its inputs
//	steer STATUS [CONCLUSION]       move the last run that nobody carries out, once there is one;
//	                                "again" is for one that has ended
//	send TYPE FILE [TIMES]          put a message into the queue
//	queue FILE                      write what is in the queue and the dead-letter queue into FILE
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/dispatcher",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"github": func(ts *testscript.TestScript, _ bool, args []string) {
				if world(ts).opts.Runner = github.RunnerActs; len(args) > 1 {
					world(ts).opts.Runner = github.RunnerAway
				}
				world(ts).start(map[string]github.RunDetails{"given": github.DetailsGiven, "ignored": github.DetailsIgnored, "refused": github.DetailsRefused}[args[0]])
			},
			"fault": func(ts *testscript.TestScript, _ bool, args []string) {
				status, err := strconv.Atoi(args[0])
				ts.Check(err)
				world(ts).server.Load().Faults.Set(fault(status, args[1:]))
			},
			"nofault": func(ts *testscript.TestScript, _ bool, _ []string) {
				world(ts).server.Load().Faults.Set(nil)
			},
			"status": func(ts *testscript.TestScript, _ bool, args []string) {
				var exit *exec.ExitError
				if err := ts.Exec(args[1], args[2:]...); !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
					ts.Fatalf("%v: %v, want exit status %s", args[1:], err, args[0])
				}
			},
			"runs": func(ts *testscript.TestScript, _ bool, args []string) {
				var b strings.Builder
				for _, r := range world(ts).server.Load().Runs() {
					inputs, err := json.Marshal(r.Inputs)
					ts.Check(err)
					fmt.Fprintf(&b, "%s %s\n", r.Name, inputs)
				}
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
			},
			"steer": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(world(ts).steer(args[0], append(args[1:], "")[0]))
			},
			"send": func(ts *testscript.TestScript, _ bool, args []string) {
				times := 1
				if len(args) > 2 {
					n, err := strconv.Atoi(args[2])
					ts.Check(err)
					times = n
				}
				for range times {
					_, err := world(ts).queues.Send("jobs", args[0], []byte(strings.TrimSpace(ts.ReadFile(args[1]))))
					ts.Check(err)
				}
			},
			"queue": func(ts *testscript.TestScript, _ bool, args []string) {
				q := world(ts).queues
				var b strings.Builder
				for _, name := range []string{"jobs", "dead"} {
					fmt.Fprintf(&b, "%s: %d\n", name, len(q.Messages(name)))
				}
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
			},
		},
	})
}

// A place is where one script runs: the stand-ins of the moment, and GitHub's options.
type place struct {
	server atomic.Pointer[github.Server]
	queues *cloudflare.Server
	opts   github.Options
	stop   func(func())
}

type placeKey struct{}

func world(ts *testscript.TestScript) *place { return ts.Value(placeKey{}).(*place) }

func setup(env *testscript.Env) error {
	data, err := os.ReadFile("../../.github/workflows/provision-tenant.yml")
	if err != nil {
		return err
	}
	dir := filepath.Join(env.WorkDir, ".github", "workflows")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "provision-tenant.yml"), data, 0o644); err != nil {
		return err
	}
	action, err := os.ReadFile("../../action.yml")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(env.WorkDir, "action.yml"), action, 0o644); err != nil {
		return err
	}
	program, err := exec.LookPath("true")
	if err != nil {
		return err
	}
	private, err := appPrivate()
	if err != nil {
		return err
	}
	p := &place{stop: env.Defer, opts: github.Options{
		Repo: "pregoi/prego", Files: os.DirFS(env.WorkDir), Refs: []string{"main", "v1"}, Token: "t0k3n",
		App:    &github.App{ID: 7, Installation: 77, Key: &private.PublicKey},
		Action: program, Env: []string{"GORACE=atexit_sleep_ms=0"}, Dir: env.Getenv("TMPDIR"),
	}}
	p.start(github.DetailsGiven)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.server.Load().Handler().ServeHTTP(w, r)
	}))
	env.Defer(s.Close)
	env.Values[placeKey{}] = p
	p.queues = cloudflare.New(cloudflare.Options{Token: "cf-t0k3n", ZoneName: "pregoi.com", Queues: []cloudflare.QueueOptions{
		{Name: "jobs", DeadLetterQueue: "dead", MaxRetries: 3},
		{Name: "careless"},
		{Name: "pushed", NoPull: true},
	}})
	q := httptest.NewServer(p.queues.Handler())
	env.Defer(q.Close)
	key, err := appKey()
	if err != nil {
		return err
	}
	env.Vars = append(env.Vars, "CLOUDFLARE_API_BASE_URL="+q.URL+"/client/v4", "CLOUDFLARE_API_TOKEN=cf-t0k3n",
		"CLOUDFLARE_ACCOUNT_ID="+p.queues.AccountID(), "CLOUDFLARE_QUEUE_ID="+p.queues.QueueID("jobs"),
		"CARELESS="+p.queues.QueueID("careless"), "PUSHED="+p.queues.QueueID("pushed"), "APP_KEY="+key)
	// The race detector would hold every process up for a second at its end.
	env.Vars = append(env.Vars, "GORACE=atexit_sleep_ms=0", "GITHUB_API_URL="+s.URL, "GITHUB_TOKEN=t0k3n",
		"XDG_STATE_HOME="+filepath.Join(env.WorkDir, "state"),
		"DISPATCHES="+s.URL+"/repos/pregoi/prego/actions/workflows/provision-tenant.yml/dispatches")
	return nil
}

// steer moves the last run, once there is one.
func (p *place) steer(status, conclusion string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-tick.C {
		if runs := p.server.Load().Runs(); len(runs) > 0 {
			id := runs[len(runs)-1].ID
			if status == "again" {
				return p.server.Load().Rerun(id)
			}
			return p.server.Load().Steer(id, status, conclusion)
		}
	}
	return errors.New("there is no run")
}

func (p *place) start(d github.RunDetails) {
	p.opts.RunDetails = d
	s := github.New(p.opts)
	p.server.Store(s)
	p.stop(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Close(ctx) // its processes have ended either way
	})
}

// fault answers every dispatch with a status, a body and header fields.
func fault(status int, args []string) func(*http.Request) standin.Action {
	a := standin.Action{Status: status, Header: http.Header{}, Lose: status == 0}
	if len(args) > 0 {
		a.Body = args[0]
		for _, field := range args[1:] {
			name, value, _ := strings.Cut(field, "=")
			a.Header.Set(name, value)
		}
	}
	return func(r *http.Request) standin.Action {
		if r.Method == http.MethodPost {
			return a
		}
		return standin.Action{}
	}
}
