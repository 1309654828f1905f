package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
)

// A lab is the stand-ins of GitHub and Cloudflare on loopback, for the real program.
type lab struct {
	t       testing.TB
	program string
	github  *github.Server
	queues  *cloudflare.Server
	env     []string
	dir     string
}

// built builds the real program once, without the race detector: it is killed, not watched.
var built = sync.OnceValues(func() (path string, err error) {
	if builtIn, err = os.MkdirTemp("", "dispatcher"); err != nil {
		return "", err
	}
	path = filepath.Join(builtIn, "dispatcher")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// builtIn is the folder of what was built; empty for none.
var builtIn string

// tests are those of the package, which leave nothing behind.
type tests struct{ m *testing.M }

// Run implements [testscript.TestingM].
func (t tests) Run() int {
	defer func() {
		if builtIn != "" {
			_ = os.RemoveAll(builtIn) // what is left is the system's to remove
		}
	}()
	return t.m.Run()
}

func newLab(t testing.TB, q cloudflare.QueueOptions, limits github.Limits) *lab {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, program: path, dir: t.TempDir()}
	l.github = github.New(github.Options{Repo: "pregoi/prego", Files: os.DirFS("../.."), Token: "t0k3n", Runner: github.RunnerInstant,
		Limits: limits, Dir: l.dir})
	q.Name, q.DeadLetterQueue, q.MaxRetries = "jobs", "dead", 100
	l.queues = cloudflare.New(cloudflare.Options{Token: "cf-t0k3n", ZoneName: "pregoi.com", Queues: []cloudflare.QueueOptions{q}, RateLimit: 1_000_000})
	gh, cf := httptest.NewServer(l.github.Handler()), httptest.NewServer(l.queues.Handler())
	t.Cleanup(func() {
		gh.CloseClientConnections() // some belong to processes that were killed
		cf.CloseClientConnections()
		gh.Close()
		cf.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = l.github.Close(ctx) // it runs nothing
	})
	l.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir, "GITHUB_API_URL=" + gh.URL, "GITHUB_TOKEN=t0k3n",
		"CLOUDFLARE_API_BASE_URL=" + cf.URL + "/client/v4", "CLOUDFLARE_API_TOKEN=cf-t0k3n", "CLOUDFLARE_ACCOUNT_ID=" + l.queues.AccountID(),
		"CLOUDFLARE_QUEUE_ID=" + l.queues.QueueID("jobs"), "INTERNAL_API_KEY=" + strings.Repeat("k", 32)}
	return l
}

// send puts jobs from first on into the queue.
func (l *lab) send(first, n int) {
	l.t.Helper()
	for i := first; i < first+n; i++ {
		if _, err := l.queues.Send("jobs", "json", labMessage(i)); err != nil {
			l.t.Fatal(err)
		}
	}
}

func labMessage(i int) []byte {
	return fmt.Appendf(nil, `{"job_id":"job-%d","tenant_id":"t-%d","region":"sg","create_new_server":"true","target_server_id":"","subdomain_slug":"t-%d","canonical_hostname":"t-%d.pregoi.com"}`, i, i, i, i)
}

// unlimited are flags without any pace.
var unlimited = []string{"--repo", "pregoi/prego", "--gap", "0", "--per-minute", "0", "--per-hour", "0"}

// A life is one process of the program.
type life struct {
	cmd  *exec.Cmd
	logs bytes.Buffer
	addr chan string // its first "addr"
	done chan struct{}
	err  error
}

// start starts the program with JSON logs.
func (l *lab) start(args ...string) *life {
	l.t.Helper()
	p := &life{cmd: exec.Command(l.program, args...), addr: make(chan string, 1), done: make(chan struct{})}
	p.cmd.Env, p.cmd.Dir = l.env, l.dir
	errs, err := p.cmd.StderrPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		p.read(errs)
		p.err = p.cmd.Wait()
	}()
	l.t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.done })
	return p
}

func (p *life) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.logs.Write(append(lines.Bytes(), '\n'))
		var v struct{ Addr string }
		if json.Unmarshal(lines.Bytes(), &v) == nil && v.Addr != "" {
			p.addr <- v.Addr
		}
	}
}

// kill kills it, and waits until it is gone.
func (p *life) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// listening returns the address that it answers on.
func (l *lab) listening(p *life) string {
	l.t.Helper()
	select {
	case a := <-p.addr:
		return "http://" + a
	case <-p.done:
		l.t.Fatalf("it has ended: %v\n%s", p.err, p.logs.Bytes())
	case <-time.After(20 * time.Second):
		l.t.Fatal("it does not listen")
	}
	return ""
}

// stop sends SIGTERM and returns how long the end takes.
func (l *lab) stop(p *life) time.Duration {
	l.t.Helper()
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		l.t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		l.t.Error("SIGTERM does not end it")
	}
	return time.Since(began)
}

// memory returns what a process has in memory, and had at most, in bytes.
func (l *lab) memory(p *life) (now, most int) {
	l.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		l.t.Skip("there is no /proc")
	}
	for line := range strings.Lines(string(data)) {
		name, rest, _ := strings.Cut(line, ":")
		kb, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
		switch name {
		case "VmRSS":
			now = kb << 10
		case "VmHWM":
			most = kb << 10
		}
	}
	return now, most
}

// eachOnce checks that jobs 0 to n-1 have one run each, and no other has any.
func (l *lab) eachOnce(n int) {
	l.t.Helper()
	runs := l.perJob()
	wrong := 0
	for i := range n {
		if id := fmt.Sprintf("job-%d", i); runs[id] != 1 {
			if wrong++; wrong < 10 {
				l.t.Errorf("%s has %d runs", id, runs[id])
			}
		}
	}
	if len(runs) != n || wrong > 0 {
		l.t.Errorf("%d of %d jobs have runs, and %d have not one", len(runs), n, wrong)
	}
}

// emptied waits until every message is acknowledged.
func (l *lab) emptied(most time.Duration) {
	l.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(most); time.Now().Before(end); <-tick.C {
		if c := l.queues.Counts("jobs"); c.Ready+c.Delayed+c.Leased == 0 {
			if c.DeadLettered+c.Deleted+c.Expired > 0 {
				l.t.Errorf("messages are lost: %+v", c)
			}
			return
		}
	}
	l.t.Fatalf("messages are left: %+v", l.queues.Counts("jobs"))
}

// get returns the body of an answer of 200.
func (l *lab) get(url string) string {
	l.t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.Repeat("k", 32))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		l.t.Fatalf("%s: %d %s %v", url, resp.StatusCode, data, err)
	}
	return string(data)
}

// post sends a body and wants a status.
func (l *lab) post(url, body string, want int) {
	l.t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.Repeat("k", 32))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	if data, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != want {
		l.t.Fatalf("%s: %d %s %v", url, resp.StatusCode, data, err)
	}
}

// perJob counts the runs of each job.
func (l *lab) perJob() map[string]int {
	runs := map[string]int{}
	for _, r := range l.github.Runs() {
		runs[r.Inputs["job_id"].(string)]++
	}
	return runs
}
