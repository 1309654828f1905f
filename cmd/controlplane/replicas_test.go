package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/postgrestest"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
)

const (
	tenants  = 500
	nodes    = 12
	perNode  = 40 // so there is room for 480, and 20 need a server
	callers  = 8
	perTurn  = time.Second / 40 // what the callers together leave between orders, so that it takes a while
	fleetKey = "a-key-of-more-than-thirty-two-characters"
)

// TestReplicas lets three control planes on one Postgres take 500 orders, while one of them
// is killed every second: there are 500 jobs, each has one run, and the nodes are filled to
// the last place and no further.
func TestReplicas(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	server := postgrestest.Start(t)
	gh := github.New(github.Options{Repo: "o/r", Files: os.DirFS("../.."), Token: "a-token", Action: program(t, "true"),
		Limits: github.Unlimited()})
	api := httptest.NewServer(gh.Handler())
	t.Cleanup(func() {
		api.Close()
		if err := gh.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	f := &fleet{t: t, env: append(os.Environ(), "HOME="+t.TempDir(), "DATABASE_URL="+server.Address(server.Database(t, "")),
		"INTERNAL_API_KEY="+fleetKey, "GITHUB_TOKEN=a-token", "GITHUB_API_URL="+api.URL, fmt.Sprint("PLACEMENT_MAX_TENANTS_PER_NODE=", perNode))}
	t.Cleanup(f.end)
	f.startAll() // together, on an empty database
	for i := range nodes {
		id := fmt.Sprint("n", i)
		f.must("POST", "/internal/nodes", "", fmt.Sprintf(`{"node_id":%q,"region":"sg","host":"192.0.2.%d"}`, id, i))
		f.must("POST", "/internal/server-metrics", "", fmt.Sprintf(`{"node_id":%q,"memory_pct":%d}`, id, 20+i))
	}

	began := time.Now()
	stopKilling := f.killEverySecond()
	jobs := f.enqueueAll()
	kills := stopKilling()
	t.Logf("%d orders and %d kills in %s", tenants, kills, time.Since(began).Round(time.Millisecond))
	if kills < 5 {
		t.Errorf("%d kills are too few to show anything", kills)
	}
	f.untilDispatched()
	t.Logf("all runs after %s", time.Since(began).Round(time.Millisecond))

	f.check(jobs, gh.Runs())
}

// program returns the path of a program that there is everywhere.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("there is no program %q: %v", name, err)
	}
	return path
}

// A fleet is three control planes.
type fleet struct {
	t    *testing.T
	env  []string
	all  [3]replica
	next atomic.Int64
}

// A replica is one of them; another process after each kill.
type replica struct {
	mu   sync.Mutex
	cmd  *exec.Cmd
	url  string // empty while it does not listen
	said chan struct{}
}

func (f *fleet) startAll() {
	var wg sync.WaitGroup
	for i := range f.all {
		wg.Go(func() { f.start(&f.all[i]) })
	}
	wg.Wait()
}

// start starts a replica, and waits until it listens.
func (f *fleet) start(r *replica) {
	cmd := exec.Command("controlplane", "serve", "--addr", "127.0.0.1:0", "--repo", "o/r",
		"--gap", "0", "--per-minute", "0", "--per-hour", "0", "--lease", "3s", "--window", "3s")
	cmd.Env = f.env
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		f.t.Error(err)
		return
	}
	r.cmd, r.said = cmd, make(chan struct{})
	address := make(chan string, 1)
	go func() {
		defer close(r.said)
		defer close(address)
		for s := bufio.NewScanner(log); s.Scan(); {
			var line struct{ Level, Msg, Addr string }
			if err := json.Unmarshal(s.Bytes(), &line); err != nil || strings.Contains(s.Text(), fleetKey) {
				f.t.Errorf("the log says %s", s.Text())
			}
			if line.Msg == "listening" {
				address <- line.Addr
			}
			if line.Level != "INFO" {
				f.t.Logf("%s", s.Text())
			}
		}
	}()
	if a := <-address; a != "" {
		r.mu.Lock()
		r.url = "http://" + a
		r.mu.Unlock()
		return
	}
	f.t.Error("a replica did not listen")
}

// kill kills a replica, and waits for its end.
func (f *fleet) kill(r *replica) {
	r.mu.Lock()
	r.url = ""
	r.mu.Unlock()
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // it may have ended by itself, which its orders would tell
	<-r.said
	_ = r.cmd.Wait() // it was killed
	r.cmd = nil
}

func (f *fleet) end() {
	for i := range f.all {
		f.kill(&f.all[i])
	}
}

// killEverySecond kills one replica after the other until stop is called, which waits until
// all of them are there again.
func (f *fleet) killEverySecond() (stop func() (kills int)) {
	done, ended := make(chan struct{}), make(chan struct{})
	kills := 0
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			r := &f.all[kills%len(f.all)]
			kills++
			f.kill(r)
			f.start(r)
		}
	}()
	return func() int {
		close(done)
		<-ended
		return kills
	}
}

// enqueueAll orders every tenant until it is answered with 202, and returns the jobs that
// were answered, by tenant.
func (f *fleet) enqueueAll() map[string]string {
	orders := make(chan string)
	go func() {
		defer close(orders)
		tick := time.NewTicker(perTurn)
		defer tick.Stop()
		for i := range tenants {
			<-tick.C
			orders <- fmt.Sprint("tenant-", i)
		}
	}()
	var mu sync.Mutex
	jobs := map[string]string{}
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for tenant := range orders {
				body := f.must("POST", "/internal/tenants/"+tenant+"/enqueue-provision", "key-"+tenant,
					fmt.Sprintf(`{"subdomain_slug":"s%s","region":"sg","plan_tier":"basic"}`, tenant))
				var answer row
				read(f.t, body, &answer)
				mu.Lock()
				jobs[tenant] = answer.JobID
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return jobs
}

func read(t *testing.T, body []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(body, v); err != nil {
		t.Errorf("%s: %v", body, err)
	}
}

// must sends a request to one replica after the other until it is answered with success.
// What says that it shall be sent again is, under its key.
func (f *fleet) must(method, path, key, body string) []byte {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 2*time.Minute)
	defer cancel()
	for {
		status, answer := f.send(ctx, method, path, key, body)
		again := status == 0 || status >= 500 || status == http.StatusConflict && bytes.Contains(answer, []byte("Idempotency-Key is being answered"))
		switch {
		case status/100 == 2:
			return answer
		case ctx.Err() != nil || !again:
			f.t.Errorf("%s %s: %d %s", method, path, status, answer)
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// send sends a request to the next replica; status is 0 where there is no answer.
func (f *fleet) send(ctx context.Context, method, path, key, body string) (status int, answer []byte) {
	r := &f.all[f.next.Add(1)%int64(len(f.all))]
	r.mu.Lock()
	url := r.url
	r.mu.Unlock()
	if url == "" {
		return 0, nil
	}
	req, err := http.NewRequestWithContext(ctx, method, url+path, strings.NewReader(body))
	if err != nil {
		f.t.Error(err)
		return http.StatusTeapot, nil
	}
	req.Header.Set("Authorization", "Bearer "+fleetKey)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil
	}
	return resp.StatusCode, answer
}

// A row is a job as the control plane tells of it.
type row struct {
	JobID    string `json:"job_id"`
	TenantID string `json:"tenant_id"`
	Status   string `json:"status"`
	Mode     string `json:"infra_mode"`
	Target   string `json:"target_server_id"`
}

// list returns the jobs, up to 500.
func (f *fleet) list(status string) []row {
	var answer struct{ Jobs []row }
	read(f.t, f.must("GET", "/internal/provision-jobs?limit=500"+status, "", ""), &answer)
	return answer.Jobs
}

// untilDispatched waits until no job is Pending.
func (f *fleet) untilDispatched() {
	deadline := time.After(4 * time.Minute)
	for {
		left := f.list("&status=Pending")
		if len(left) == 0 {
			return
		}
		select {
		case <-deadline:
			f.t.Errorf("%d jobs are still Pending: %+v", len(left), left)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// check compares what was answered, what is stored and what GitHub has been asked for.
func (f *fleet) check(jobs map[string]string, runs []github.Run) {
	started := map[string]int{}
	for _, run := range runs {
		started[fmt.Sprint(run.Inputs["job_id"])]++
	}
	list := f.list("")
	if len(list) != tenants || len(jobs) != tenants || len(runs) != tenants {
		f.t.Errorf("%d jobs, %d answers and %d runs, want %d of each", len(list), len(jobs), len(runs), tenants)
	}
	placed := map[string]int{}
	for _, j := range list {
		if n := started[j.JobID]; n != 1 {
			f.t.Errorf("job %s has %d runs", j.JobID, n)
		}
		if j.Status != "Dispatched" || jobs[j.TenantID] != j.JobID {
			f.t.Errorf("job %+v; its tenant was told of %s", j, jobs[j.TenantID])
		}
		placed[cmp.Or(j.Target, j.Mode)]++
	}
	for i := range nodes {
		if id := fmt.Sprint("n", i); placed[id] != perNode {
			f.t.Errorf("%d tenants on node %s, want %d", placed[id], id, perNode)
		}
	}
	if n := placed["create_new_server"]; n != tenants-nodes*perNode {
		f.t.Errorf("%d jobs for a new server, want %d", n, tenants-nodes*perNode)
	}
}
