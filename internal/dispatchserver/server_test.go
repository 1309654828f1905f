package dispatchserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/consumer"
	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/ledgertest"
	"github.com/pregoi/provision-tenant/internal/dispatchserver"
	"github.com/pregoi/provision-tenant/internal/provision"
)

const key = "a-key-of-more-than-32-characters-1234"

func message(id, tenant string) string {
	return fmt.Sprintf(`{"job_id":%q,"tenant_id":%q,"region":"sg","create_new_server":"true","subdomain_slug":"acme","canonical_hostname":"acme.pregoi.com"}`, id, tenant)
}

// A place is a server over a ledger, with a GitHub of which only start is known.
type place struct {
	t      *testing.T
	ledger *ledgertest.Memory
	start  func(ctx context.Context, id string) (dispatch.Run, error)
	inputs error
	ready  error
	adjust func(*dispatchserver.Config)

	mu     sync.Mutex
	starts map[string]int
	base   string
	stop   func() error
}

func newPlace(t *testing.T) *place {
	return &place{t: t, ledger: &ledgertest.Memory{}, starts: map[string]int{}}
}

// serve starts the server; the test's end stops it.
func (p *place) serve() {
	p.t.Helper()
	pace := &dispatch.Pace{Gap: -1, Slots: p.ledger}
	d := &dispatch.Dispatcher{Ledger: p.ledger, Pace: pace,
		Inputs: func(_ context.Context, job provision.Job) (map[string]any, error) {
			return map[string]any{"job_id": job.ID}, p.inputs
		},
		Start: func(ctx context.Context, inputs map[string]any) (dispatch.Run, error) {
			id := inputs["job_id"].(string)
			p.mu.Lock()
			p.starts[id]++
			p.mu.Unlock()
			if p.start != nil {
				return p.start(ctx, id)
			}
			return dispatch.Run{ID: 7, HTMLURL: "https://github/7"}, nil
		}}
	c := dispatchserver.Config{Key: key, Dispatch: d.Once, Ledger: p.ledger, Refusals: p.ledger, Inbox: p.ledger,
		Limits: func(context.Context) dispatch.PaceState { return pace.State() },
		Ready:  func(context.Context) error { return p.ready }, Wait: 500 * time.Millisecond,
		Metrics: dispatchserver.NewMetrics("v1", pace.State, func() consumer.Stats { return consumer.Stats{Backlog: 42} })}
	if p.adjust != nil {
		p.adjust(&c)
	}
	s, err := dispatchserver.New(c)
	if err != nil {
		p.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	p.base = "http://" + ln.Addr().String()
	p.stop = sync.OnceValue(func() error { cancel(); return <-served })
	p.t.Cleanup(func() { _ = p.stop() }) // the tests that care have looked
}

// ask sends a request with the key.
func (p *place) ask(method, path, body string) (*http.Response, map[string]any) {
	p.t.Helper()
	return p.askAs("Bearer "+key, method, path, body)
}

func (p *place) askAs(auth, method, path, body string) (*http.Response, map[string]any) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	v := map[string]any{}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(data, &v); err != nil {
			p.t.Fatalf("%s: %v", data, err)
		}
	} else {
		v["text"] = string(data)
	}
	return resp, v
}

func (p *place) want(status int, method, path, body string) (*http.Response, map[string]any) {
	p.t.Helper()
	resp, v := p.ask(method, path, body)
	if resp.StatusCode != status {
		p.t.Fatalf("%s %s: %d %v, want %d", method, path, resp.StatusCode, v, status)
	}
	return resp, v
}

// until asks until ok says yes.
func (p *place) until(path string, ok func(map[string]any) bool) map[string]any {
	p.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var v map[string]any
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-tick.C {
		if _, v = p.ask("GET", path, ""); ok(v) {
			return v
		}
	}
	p.t.Fatalf("%s stays %v", path, v)
	return nil
}

func state(v map[string]any) any {
	record, _ := v["record"].(map[string]any)
	return record["state"]
}

func TestDispatch(t *testing.T) {
	p := newPlace(t)
	p.serve()
	_, v := p.want(200, "POST", "/dispatch", message("job-1", "acme"))
	if v["outcome"] != "accepted" || v["run_id"] != 7.0 || v["html_url"] != "https://github/7" || v["recorded"] != nil {
		t.Errorf("answer: %v", v)
	}
	if _, v = p.want(200, "POST", "/dispatch", message("job-1", "acme")); v["recorded"] != true || v["run_id"] != 7.0 {
		t.Errorf("again: %v", v)
	}
	if _, v = p.want(409, "POST", "/dispatch", message("job-1", "other")); v["class"] != "conflict" {
		t.Errorf("another content: %v", v)
	}
	if _, v = p.want(200, "POST", "/dispatch", strings.Replace(message("job-1", "acme"), "{", `{"attempt":"2",`, 1)); v["recorded"] != nil || p.starts["job-1"] != 2 {
		t.Errorf("another attempt: %v", v)
	}
	resp, v := p.want(422, "POST", "/dispatch", `{"job_id":"a b","region":"mars","colour":1}`)
	if n := len(v["errors"].([]any)); n != 7 || resp.Header.Get("Content-Type") != "application/problem+json" ||
		v["errors"].([]any)[0].(map[string]any)["location"] != "body.colour" {
		t.Errorf("%d fields are wrong: %v", n, v)
	}
	p.want(422, "POST", "/dispatch", "no JSON")
	p.want(413, "POST", "/dispatch", strings.Repeat("x", provision.MaxMessageBytes+1))
	if p.starts["job-1"] != 2 {
		t.Errorf("%d requests", p.starts["job-1"])
	}
	if _, v = p.want(200, "GET", "/jobs/job-1", ""); state(v) != "accepted" || v["limits"].(map[string]any)["last_hour"] == nil || v["queued"] != nil {
		t.Errorf("job: %v", v)
	}
	p.want(404, "GET", "/jobs/none", "")
	p.want(404, "GET", "/none", "")
	if resp, _ := p.want(405, "GET", "/dispatch", ""); resp.Header.Get("Allow") != "POST" {
		t.Errorf("Allow: %q", resp.Header.Get("Allow"))
	}
}

func TestKey(t *testing.T) {
	p := newPlace(t)
	p.serve()
	for _, auth := range []string{"", "Bearer ", "Bearer " + key + "x", "bearer " + key, "Bearer  " + key, key, "Basic " + key} {
		for _, route := range [][2]string{{"POST", "/dispatch"}, {"GET", "/jobs/job-1"}, {"GET", "/refusals"}} {
			if resp, v := p.askAs(auth, route[0], route[1], message("job-1", "a")); resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%q %v: %d %v", auth, route, resp.StatusCode, v)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if resp, _ := p.askAs("", "GET", path, ""); resp.StatusCode != 200 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	for _, bad := range []string{"", "short", strings.Repeat("é", 40)} {
		if _, err := dispatchserver.New(dispatchserver.Config{Key: bad}); provision.ClassOf(err) != provision.Invalid {
			t.Errorf("key %q: %v", bad, err)
		}
	}
}

// What takes longer is taken on, and goes on after a restart, in another process too.
func TestQueued(t *testing.T) {
	p := newPlace(t)
	hold := make(chan struct{})
	p.start = func(ctx context.Context, _ string) (dispatch.Run, error) {
		select {
		case <-hold:
		case <-ctx.Done():
		}
		// Nothing of it is known: it is found again by its name, which takes its time. Here it
		// was not sent.
		return dispatch.Run{}, provision.Errorf(provision.Busy, "not sent")
	}
	p.serve()
	resp, v := p.want(202, "POST", "/dispatch", message("job-1", "acme"))
	if v["outcome"] != "queued" || resp.Header.Get("Location") != "/jobs/job-1" {
		t.Errorf("answer: %v", v)
	}
	p.want(202, "POST", "/dispatch", message("job-1", "acme"))
	p.want(409, "POST", "/dispatch", message("job-1", "other"))
	if v := p.until("/jobs/job-1", func(v map[string]any) bool { return v["queued"] != nil }); state(v) != "sending" {
		t.Errorf("job: %v", v)
	}
	if err := p.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	close(hold)
	p.start = nil
	p.serve()
	p.until("/jobs/job-1", func(v map[string]any) bool { return state(v) == "accepted" && v["queued"] == nil })
}

// What another process does with a job is told as well.
func TestOther(t *testing.T) {
	p := newPlace(t)
	p.adjust = func(c *dispatchserver.Config) {
		c.Wait = 10 * time.Second
		c.Dispatch = func(ctx context.Context, job provision.Job) (dispatch.Result, error) {
			r := dispatch.Record{JobID: job.ID, Hash: dispatch.Fingerprint(job), State: dispatch.Done, Run: dispatch.Run{ID: 9}}
			if ok, err := p.ledger.Save(ctx, r); !ok || err != nil {
				t.Error(ok, err)
			}
			<-ctx.Done() // this process knows nothing of it
			return dispatch.Result{}, ctx.Err()
		}
	}
	p.serve()
	if _, v := p.want(200, "POST", "/dispatch", message("job-1", "acme")); v["run_id"] != 9.0 || v["recorded"] != true {
		t.Errorf("answer: %v", v)
	}
}

// A later attempt takes the place of the one that waits, and whoever waits for it is not
// told of the one before.
func TestAttempt(t *testing.T) {
	p := newPlace(t)
	first := make(chan struct{})
	var calls atomic.Int64
	p.start = func(ctx context.Context, _ string) (dispatch.Run, error) {
		n := calls.Add(1)
		if n == 1 {
			<-first
		}
		return dispatch.Run{ID: n}, nil
	}
	p.adjust = func(c *dispatchserver.Config) { c.Wait = 300 * time.Millisecond }
	p.serve()
	second := strings.Replace(message("job-1", "acme"), "{", `{"attempt":"2",`, 1)
	p.want(202, "POST", "/dispatch", message("job-1", "acme"))
	p.want(202, "POST", "/dispatch", second)
	if _, v := p.want(200, "GET", "/jobs/job-1", ""); v["queued"].(map[string]any)["attempt"] != 2.0 || v["record"].(map[string]any)["attempt"] != 1.0 {
		t.Errorf("job: %v", v)
	}
	p.want(202, "POST", "/dispatch", message("job-1", "acme"))
	close(first)
	v := p.until("/jobs/job-1", func(v map[string]any) bool { return v["queued"] == nil })
	if record := v["record"].(map[string]any); record["attempt"] != 2.0 || record["run_id"] != 2.0 || calls.Load() != 2 {
		t.Errorf("%d requests, and the job is %v", calls.Load(), v)
	}
	if _, v := p.want(200, "POST", "/dispatch", second); v["run_id"] != 2.0 || v["recorded"] != true {
		t.Errorf("again: %v", v)
	}
}

// A limit is told with the time of its end, and the job goes on by itself after it.
func TestLimited(t *testing.T) {
	p := newPlace(t)
	end := time.Now().Add(1500 * time.Millisecond)
	p.start = func(context.Context, string) (dispatch.Run, error) {
		if time.Now().Before(end) {
			return dispatch.Run{}, limit{provision.Errorf(provision.Busy, "limited"), end}
		}
		return dispatch.Run{ID: 8}, nil
	}
	p.serve()
	resp, v := p.want(202, "POST", "/dispatch", message("job-1", "acme"))
	if resp.Header.Get("Retry-After") != "2" || v["reason"] != "job job-1: limited" || v["retry_at"] == nil {
		t.Errorf("answer: %v, Retry-After %s", v, resp.Header.Get("Retry-After"))
	}
	p.until("/jobs/job-1", func(v map[string]any) bool { return state(v) == "accepted" })
	if p.starts["job-1"] != 2 {
		t.Errorf("%d requests", p.starts["job-1"])
	}
}

type limit struct {
	error
	at time.Time
}

func (l limit) NotBefore() time.Time { return l.at }
func (l limit) Unwrap() error        { return l.error }

func TestRefused(t *testing.T) {
	p := newPlace(t)
	p.start = func(_ context.Context, id string) (dispatch.Run, error) {
		if id == "job-denied" {
			return dispatch.Run{}, provision.Errorf(provision.Denied, "401")
		}
		return dispatch.Run{}, provision.Errorf(provision.Invalid, "422 no")
	}
	p.serve()
	_, v := p.want(422, "POST", "/dispatch", message("job-1", "acme"))
	if v["detail"] != "job job-1: 422 no" || v["class"] != "invalid" {
		t.Errorf("answer: %v", v)
	}
	_, v = p.want(200, "GET", "/refusals?limit=5", "")
	list := v["refusals"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["job_id"] != "job-1" || list[0].(map[string]any)["message_id"] != "http:job-1" {
		t.Errorf("refusals: %v", v)
	}
	p.want(422, "GET", "/refusals?limit=x", "")
	// A token's fault is nobody's message's: it is taken on.
	p.want(202, "POST", "/dispatch", message("job-denied", "acme"))
	// What the workflow does not declare is told field by field, and not kept.
	p.inputs = &provision.Error{Class: provision.Invalid, Text: "inputs", Err: &provision.FieldError{Field: "dedicated", Value: "true", Reason: "is not an input"}}
	if _, v = p.want(422, "POST", "/dispatch", message("job-2", "acme")); v["errors"].([]any)[0].(map[string]any)["location"] != "body.dedicated" {
		t.Errorf("answer: %v", v)
	}
	p.until("/jobs/job-2", func(v map[string]any) bool { return v["status"] == 404.0 })
}

func TestFull(t *testing.T) {
	p := newPlace(t)
	p.adjust = func(c *dispatchserver.Config) { c.MaxKept = 1 }
	p.start = func(context.Context, string) (dispatch.Run, error) {
		return dispatch.Run{}, limit{provision.Errorf(provision.Busy, "limited"), time.Now().Add(time.Hour)}
	}
	p.serve()
	p.want(202, "POST", "/dispatch", message("job-1", "acme"))
	if resp, _ := p.want(429, "POST", "/dispatch", message("job-2", "acme")); resp.Header.Get("Retry-After") != "60" {
		t.Errorf("Retry-After: %q", resp.Header.Get("Retry-After"))
	}
}

// Without a ledger nothing is taken on.
func TestNoLedger(t *testing.T) {
	p := newPlace(t)
	p.adjust = func(c *dispatchserver.Config) { c.Ledger = away{} }
	p.serve()
	resp, v := p.want(503, "POST", "/dispatch", message("job-1", "acme"))
	if resp.Header.Get("Retry-After") == "" || v["class"] != "busy" || len(p.starts) > 0 {
		t.Errorf("answer: %v", v)
	}
	p.ready = provision.Errorf(provision.Denied, "401 Bad credentials")
	if _, v := p.want(503, "GET", "/readyz", ""); v["reason"] != "401 Bad credentials" {
		t.Errorf("readyz: %v", v)
	}
}

type away struct{}

func (away) Load(context.Context, string) (dispatch.Record, error) {
	return dispatch.Record{}, provision.Errorf(provision.Busy, "ledger: away")
}

func (away) Save(context.Context, dispatch.Record) (bool, error) { return false, errors.New("away") }

func TestMetrics(t *testing.T) {
	p := newPlace(t)
	p.serve()
	p.want(200, "POST", "/dispatch", message("job-1", "acme"))
	_, v := p.want(200, "GET", "/metrics", "")
	for _, line := range []string{
		`dispatcher_build_info{version="v1"} 1`,
		`dispatcher_http_requests_total{route="POST /dispatch",status="200"} 1`,
		`dispatcher_dispatches_total{outcome="ambiguous"} 0`,
		`dispatcher_limits_waiting 0`,
		`dispatcher_limits_writes_last_hour `,
		`dispatcher_queue_backlog 42`,
		`dispatcher_queue_retried_total{reason="fault"} 0`,
		`dispatcher_ledger_errors_total 0`,
	} {
		if !strings.Contains(v["text"].(string), line) {
			t.Errorf("there is no %s in\n%s", line, v["text"])
		}
	}
}

// Whatever hangs, the server ends within 7 seconds.
func TestStop(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.adjust = func(c *dispatchserver.Config) {
		c.Wait = time.Minute
		c.Dispatch = func(context.Context, provision.Job) (dispatch.Result, error) { select {} }
	}
	p.serve()
	got := make(chan int, 1)
	go func() {
		resp, _ := p.ask("POST", "/dispatch", message("job-1", "acme"))
		got <- resp.StatusCode
	}()
	p.until("/jobs/job-1", func(v map[string]any) bool { return v["queued"] != nil })
	began := time.Now()
	err := p.stop()
	if took := time.Since(began); took > 7*time.Second || provision.ClassOf(err) != provision.Busy {
		t.Errorf("took %v: %v", took, err)
	}
	if status := <-got; status != 202 {
		t.Errorf("the request under way is answered %d", status)
	}
}
