package github_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/github"
)

// The test binary is also the action: the stand-in starts it with ACT in its environment.
func TestMain(m *testing.M) {
	if act := os.Getenv("ACT"); act != "" {
		os.Exit(action(act))
	}
	os.Exit(m.Run())
}

// action does what a test wants the action to do, and returns its exit status.
func action(act string) int {
	file := func(name, text string) {
		f, err := os.OpenFile(os.Getenv(name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		io.WriteString(f, text)
	}
	text := os.Getenv("INPUT_TEXT")
	if filepath.Base(os.Args[0]) == "post" {
		fmt.Printf("post: saved=%s text=%s\n", os.Getenv("STATE_saved"), text)
		if strings.HasPrefix(text, "fail") {
			return 1
		}
		return 0
	}
	switch act {
	case "save":
		file("GITHUB_STATE", "saved=v 1\n")
	case "save and fail":
		file("GITHUB_STATE", "saved=v 1\n")
		return 1
	case "save and wait":
		file("GITHUB_STATE", "saved=v 1\n")
		fmt.Println("waiting")
		nothing := make(chan os.Signal, 1)
		signal.Notify(nothing, syscall.SIGUSR1)
		<-nothing
	case "env":
		env, _ := json.Marshal(os.Environ())
		file("GITHUB_OUTPUT", "env="+string(env)+"\n")
	case "dump":
		env, _ := json.Marshal(os.Environ())
		file("GITHUB_OUTPUT", "result="+string(env)+"\n")
	case "print":
		fmt.Print(text)
	case "print to stderr":
		fmt.Fprint(os.Stderr, text)
	case "output":
		file("GITHUB_OUTPUT", text)
	case "summary":
		file("GITHUB_STEP_SUMMARY", text)
	case "long summary":
		file("GITHUB_STEP_SUMMARY", strings.Repeat("x", 1<<20+1))
	case "fail":
		file("GITHUB_OUTPUT", "value=kept\n")
		return 7
	case "gate": // waits for a file, or for a signal
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt)
		fmt.Println("waiting")
		for {
			select {
			case <-signals:
				return 130
			case <-time.After(5 * time.Millisecond):
			}
			if _, err := os.Stat(os.Getenv("GATE")); err == nil {
				return 0
			}
		}
	case "wait", "ignore":
		signals := make(chan os.Signal, 8)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		fmt.Println("waiting")
		for s := range signals {
			fmt.Println("got", s)
			if act == "wait" {
				file("GITHUB_OUTPUT", "value="+s.String()+"\n")
				return 130
			}
		}
	}
	return 0
}

const actionYML = `
name: Test
description: Test
inputs:
  text: {description: Text}
  Two Words: {description: Text, default: "d ${{ github.run_attempt }}"}
  flag: {description: Text, default: 'false'}
outputs:
  value: {description: Value}
runs: {using: docker, image: Dockerfile}
`

const workflowYML = `
name: Test
run-name: test ${{ inputs.text }}
on:
  workflow_dispatch:
    inputs:
      text: {description: T, type: string, default: ''}
      flag: {description: F, type: boolean, default: false}
      pick: {description: P, type: choice, options: [a, b], default: a}
      number: {description: N, type: number, default: 1}
jobs:
  test:
    runs-on: ubuntu-latest
    env:
      JOB_LEVEL: ${{ inputs.pick }}
    outputs:
      value: ${{ steps.it.outputs.value }}
      env: ${{ steps.it.outputs.env }}
      after: ${{ steps.it.outcome }} ${{ steps.it.conclusion }}
    steps:
      - uses: actions/checkout@v4
      - id: it
        uses: ./
        with:
          text: ${{ inputs.text }}
          flag: ${{ inputs.flag }}
        env:
          SECRET: ${{ secrets.SECRET }}
          NONE: ${{ secrets.NONE }}
          VAR: ${{ vars.VAR }}-${{ env.JOB_LEVEL }}
          PICK: ${{ inputs.flag && '}}yes' || 'no' }} ${{ inputs.number }}
      - if: failure()
        uses: actions/checkout@v4
      - if: inputs.pick == 'b' && always()
        name: Last
        uses: actions/checkout@v4
`

const token, secret = "token-of-the-test", "secret-of-the-test"

// noSleep keeps the race detector from holding every process up for a second at its end.
const noSleep = "GORACE=atexit_sleep_ms=0"

// A world is a stand-in that is listening, and a client of it.
type world struct {
	*github.Server
	t   *testing.T
	url string
}

func start(t *testing.T, o github.Options) *world {
	t.Helper()
	o.Repo, o.Token = "pregoi/prego", token
	if o.Files == nil {
		o.Files = fstest.MapFS{
			"action.yml":                  {Data: []byte(actionYML)},
			".github/workflows/test.yml":  {Data: []byte(workflowYML)},
			".github/workflows/other.yml": {Data: []byte("on: push\njobs: {a: {runs-on: x, steps: [{run: 'true'}]}}")},
		}
	}
	o.Action, o.Dir = os.Args[0], t.TempDir()
	o.Env = append(o.Env, noSleep)
	if o.Secrets == nil {
		o.Secrets = map[string]string{"SECRET": secret}
	}
	o.Vars = map[string]string{"VAR": "var"}
	s := github.New(o)
	h := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		h.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(o.Dir, "*")); len(left) > 0 {
			t.Errorf("runs have left %s", left)
		}
	})
	return &world{Server: s, t: t, url: h.URL}
}

// do sends a request and returns the status, the decoded body, and the header.
func (w *world) do(method, path, body string) (int, map[string]any, http.Header) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var m map[string]any
	if len(bytes.TrimSpace(data)) > 0 {
		if err := json.Unmarshal(data, &m); err != nil {
			w.t.Fatalf("%s %s: %v: %s", method, path, err, data)
		}
	}
	return resp.StatusCode, m, resp.Header
}

const dispatches = "/repos/pregoi/prego/actions/workflows/test.yml/dispatches"

// dispatch starts a run and returns its id.
func (w *world) dispatch(inputs string) int64 {
	w.t.Helper()
	status, body, _ := w.do("POST", dispatches, `{"ref":"main","return_run_details":true,"inputs":`+inputs+`}`)
	id, ok := body["workflow_run_id"].(float64)
	if status != 200 || !ok {
		w.t.Fatalf("dispatch %s: %d %v", inputs, status, body)
	}
	return int64(id)
}

// run dispatches and waits for the end.
func (w *world) run(inputs string) github.Run {
	w.t.Helper()
	return w.wait(w.dispatch(inputs))
}

func (w *world) wait(id int64) github.Run {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	r, err := w.Wait(ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// until waits for a run to say so in its log.
func (w *world) until(id int64, text string) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		r, err := w.Run(id)
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.Contains(r.Log, text) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("run %d never said %q: %s %s", id, text, r.Status, r.Log)
		}
	}
}

func act(name string) github.Options { return github.Options{Env: []string{"ACT=" + name}} }
