package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pregoi/provision-tenant/internal/postgrestest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"controlplane": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, scripts("../../testdata/controlplane", nil))
}

// TestPostgres runs the scripts for several control planes on one Postgres server.
func TestPostgres(t *testing.T) {
	server := postgrestest.Start(t)
	testscript.Run(t, scripts("../../testdata/controlplane/postgres", func(e *testscript.Env) {
		address := server.Address(server.Database(t, ""))
		e.Setenv("DATABASE_URL", strings.Replace(address, "tester@", "tester:"+password+"@", 1))
	}))
}

// password is what no log may tell. The server does not ask for it.
const password = "hunter2"

// scripts are those in a folder. setup, if not nil, changes their environment.
func scripts(dir string, setup func(e *testscript.Env)) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("INTERNAL_API_KEY", "a-key-of-more-than-thirty-two-characters")
			e.Values["servers"] = map[string]*process{}
			if setup != nil {
				setup(e)
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":   exits,
			"start":   start,
			"end":     end,
			"request": request,
			"github":  fakeGitHub,
			"answers": answers,
			"job":     newestJob,
			"until":   until,
		},
	}
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

// start runs controlplane serve until end or the script's end, and sets CONTROL_PLANE_URL
// to where it listens. Where several run, the last one is asked and stopped.
func start(ts *testscript.TestScript, neg bool, args []string) {
	p := new(process)
	running := ts.Value("servers").(map[string]*process)
	p.cmd = exec.Command("controlplane", append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)
	p.cmd.Dir = ts.MkAbs(".")
	names := []string{"PATH", "HOME", "GOCOVERDIR"}
	for _, s := range settings {
		names = append(names, s.name)
	}
	for _, name := range names {
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
			running["http://"+line.Addr] = p
			return
		}
	}
}

// end stops the control plane that CONTROL_PLANE_URL names.
func end(ts *testscript.TestScript, neg bool, args []string) {
	running := ts.Value("servers").(map[string]*process)
	url := ts.Getenv("CONTROL_PLANE_URL")
	running[url].stop(ts)
	delete(running, url)
	for url := range running {
		ts.Setenv("CONTROL_PLANE_URL", url)
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
	for _, secret := range []string{ts.Getenv("INTERNAL_API_KEY"), ts.Getenv("GITHUB_TOKEN"), password} {
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

// newestJob [QUERY] sets JOB to the id of the newest job, or the newest that the query lets through.
func newestJob(ts *testscript.TestScript, neg bool, args []string) {
	_, body, _ := strings.Cut(ask(ts, "GET", "/internal/provision-jobs"+strings.Join(args, ""), ""), "\n")
	var list struct {
		Jobs []struct {
			ID string `json:"job_id"`
		}
	}
	ts.Check(json.Unmarshal([]byte(body), &list))
	if len(list.Jobs) == 0 {
		ts.Fatalf("there is no job")
	}
	ts.Setenv("JOB", list.Jobs[0].ID)
}
