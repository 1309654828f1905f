package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"controlplane": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/controlplane",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("INTERNAL_API_KEY", "a-key-of-more-than-thirty-two-characters")
			e.Values["server"] = new(process)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":   exits,
			"start":   start,
			"stop":    func(ts *testscript.TestScript, neg bool, args []string) { ts.Value("server").(*process).stop(ts) },
			"request": request,
			"github":  fakeGitHub,
			"until":   until,
		},
	})
}

// exits STATUS COMMAND runs a command that ends with the status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	got := 0
	if e := (*exec.ExitError)(nil); errors.As(ts.Exec(args[1], args[2:]...), &e) {
		got = e.ExitCode()
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

// A process is a control plane that a script has started.
type process struct {
	cmd  *exec.Cmd
	pipe io.Reader
	log  strings.Builder
}

// start runs controlplane serve until stop or the script's end, and sets CONTROL_PLANE_URL
// to where it listens.
func start(ts *testscript.TestScript, neg bool, args []string) {
	p := ts.Value("server").(*process)
	p.cmd = exec.Command("controlplane", append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)
	p.cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "INTERNAL_API_KEY", "DATABASE_URL", "TENANT_DOMAIN", "GITHUB_TOKEN", "GITHUB_API_URL", "GOCOVERDIR"} {
		if v := ts.Getenv(name); v != "" {
			p.cmd.Env = append(p.cmd.Env, name+"="+v)
		}
	}
	pipe, err := p.cmd.StderrPipe()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	ts.Defer(func() { p.stop(ts) })
	lines := bufio.NewReader(pipe)
	p.pipe = lines
	for {
		text, err := lines.ReadString('\n')
		p.log.WriteString(text)
		if err != nil {
			ts.Fatalf("it did not listen: %s", p.log.String())
		}
		var line struct{ Msg, Addr string }
		ts.Check(json.Unmarshal([]byte(text), &line))
		if line.Msg == "listening" {
			ts.Setenv("CONTROL_PLANE_URL", "http://"+line.Addr)
			return
		}
	}
}

// stop interrupts the process, and checks that it ends well and that its log tells no secret.
func (p *process) stop(ts *testscript.TestScript) {
	if p.cmd == nil {
		return
	}
	cmd := p.cmd
	p.cmd = nil
	ts.Check(cmd.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(p.pipe)
	ts.Check(err)
	p.log.Write(rest)
	ts.Logf("%s", p.log.String())
	ts.Check(cmd.Wait())
	for _, secret := range []string{ts.Getenv("INTERNAL_API_KEY"), ts.Getenv("GITHUB_TOKEN")} {
		if secret != "" && strings.Contains(p.log.String(), secret) {
			ts.Fatalf("the log tells %s", secret)
		}
	}
	p.log.Reset()
}

// ask sends a request to the control plane, and returns the status and the body.
func ask(ts *testscript.TestScript, method, path, body string) string {
	req, err := http.NewRequest(method, ts.Getenv("CONTROL_PLANE_URL")+path, strings.NewReader(body))
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+ts.Getenv("INTERNAL_API_KEY"))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	ts.Check(err)
	return fmt.Sprintf("%d\n%s", resp.StatusCode, data)
}

// request METHOD PATH [BODY] writes the status and the answer to the file "answer".
func request(ts *testscript.TestScript, neg bool, args []string) {
	body := ""
	if len(args) == 3 {
		body = args[2]
	}
	ts.Check(os.WriteFile(ts.MkAbs("answer"), []byte(ask(ts, args[0], args[1], body)), 0o600))
}

// until PATH TEXT asks for the path until its answer holds the text.
func until(ts *testscript.TestScript, neg bool, args []string) {
	got := ""
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		if got = ask(ts, "GET", args[0], ""); strings.Contains(got, args[1]) {
			return
		}
		<-tick.C
	}
	ts.Fatalf("GET %s never held %q: %s", args[0], args[1], got)
}

// github answers for GitHub's API: the file "workflow" is the workflow, and what is
// dispatched is appended to the file "dispatched".
func fakeGitHub(ts *testscript.TestScript, neg bool, args []string) {
	var mu sync.Mutex
	file := ts.ReadFile("workflow")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /repos/o/r/contents/.github/workflows/provision-tenant.yml", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"type": "file", "encoding": "base64",
			"content": base64.StdEncoding.EncodeToString([]byte(file))})
	})
	mux.HandleFunc("POST /repos/o/r/actions/workflows/provision-tenant.yml/dispatches", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		f, err := os.OpenFile(ts.MkAbs("dispatched"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil || r.Header.Get("Authorization") != "Bearer "+ts.Getenv("GITHUB_TOKEN") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		defer f.Close()
		_, _ = f.Write(append(bytes.TrimSpace(body), '\n'))
		_, _ = w.Write([]byte(`{"workflow_run_id":42,"run_url":"https://example.com/api/42","html_url":"https://example.com/42"}`))
	})
	s := httptest.NewServer(mux)
	ts.Defer(s.Close)
	ts.Setenv("GITHUB_API_URL", s.URL)
}
