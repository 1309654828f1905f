package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const crashKey = "a-key-of-more-than-thirty-two-characters"

// A loader is everybody who talks to a control plane, all at once: callers who order and ask
// again, runs that report, and agents of nodes. Whoever gets no answer sends the same again,
// to the process that comes next; what was acknowledged is remembered, and held against what
// is said later.
type loader struct {
	t      *testing.T
	at     address
	client *http.Client
	github *gitHub

	most    int           // orders in all
	waiting int           // orders whose run has not been started, at a time
	closing chan struct{} // closed: nobody begins anything new

	ordered, answered atomic.Int64 // orders, and requests of all kinds

	mu     sync.Mutex
	acked  []*order
	ended  map[string]string // the states of jobs that were acknowledged, by id
	nodes  map[string]bool   // that were acknowledged
	events int               // that were acknowledged
}

// run loads the control plane until all is done that was begun before closing was closed.
func (l *loader) run(ctx context.Context) {
	var all, reporters sync.WaitGroup
	for range 6 {
		all.Go(func() { l.callers(ctx) })
	}
	for i := range 2 {
		all.Go(func() { l.agent(ctx, fmt.Sprintf("shared-%d", i)) })
	}
	for range 4 {
		reporters.Go(func() {
			for r := range l.github.started {
				l.report(ctx, r)
			}
		})
	}
	all.Wait()
	// Every run leads to an end, or to one more run.
	for !l.settled() && ctx.Err() == nil {
		wait(ctx, 20*time.Millisecond)
	}
	close(l.github.started)
	reporters.Wait()
}

// settled reports whether every order has led to an end.
func (l *loader) settled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ended) == len(l.acked)
}

func (l *loader) closed() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// An order is one request for a tenant.
type order struct {
	path, key, body string
	jobID           string
	answer          []byte // that was acknowledged first
}

// newOrder is the nth. One in seven is for servers of its own, one in three comes by the
// public route.
func newOrder(n int64) *order {
	tier := "basic"
	if n%7 == 0 {
		tier = "enterprise"
	}
	o := &order{key: fmt.Sprintf("key-%d", n), path: fmt.Sprintf("/internal/tenants/t-%d/enqueue-provision", n),
		body: fmt.Sprintf(`{"subdomain_slug":"slug-%d","plan_tier":%q,"region":%q}`, n, tier, []string{"sg", "us", "eu"}[n%3])}
	if n%3 == 0 {
		o.path, o.body = "/v1/tenants", fmt.Sprintf(`{"tenant_id":"t-%d",%s`, n, o.body[1:])
	}
	return o
}

// least is how many orders there are in any case, among them some whose job fails first.
const least = 20

// callers order one tenant after another, and ask again for what was answered.
func (l *loader) callers(ctx context.Context) {
	for (!l.closed() || l.ordered.Load() < least) && ctx.Err() == nil {
		l.mu.Lock()
		known, most := len(l.acked), l.github.count()+l.waiting
		var old *order
		if known > 0 {
			old = l.acked[rand.IntN(known)]
		}
		l.mu.Unlock()
		if old != nil && (rand.IntN(3) == 0 || known >= most || known >= l.most) {
			l.again(ctx, old)
			continue
		}
		l.order(ctx, newOrder(l.ordered.Add(1)))
	}
}

// order sends o until it is acknowledged.
func (l *loader) order(ctx context.Context, o *order) {
	a := l.send(ctx, "POST", o.path, o.body, o.key, http.StatusAccepted)
	if a.status != http.StatusAccepted {
		return
	}
	var body struct {
		JobID string `json:"job_id"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil || body.JobID == "" {
		l.t.Errorf("order %s: %s", o.key, a.body)
	}
	o.jobID, o.answer = body.JobID, a.body
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked = append(l.acked, o)
}

// again sends an order that was acknowledged. The answer is that of then, to the byte; or
// that another is asking the same just now.
func (l *loader) again(ctx context.Context, o *order) {
	a := l.send(ctx, "POST", o.path, o.body, o.key, http.StatusAccepted, http.StatusConflict)
	switch {
	case a.status == http.StatusAccepted && (!bytes.Equal(a.body, o.answer) || a.header.Get("Idempotency-Replayed") != "true"):
		l.t.Errorf("order %s again: %s, want %s", o.key, a.body, o.answer)
	case a.status == http.StatusConflict && !strings.Contains(string(a.body), "is being answered"):
		l.t.Errorf("order %s again: %s", o.key, a.body)
	}
}

// report is what a run does: it tells that it has begun, registers its server if it has made
// one, and completes its job. One job in five fails first, and is tried again by an operator.
func (l *loader) report(ctx context.Context, r run) {
	text, _ := json.Marshal(map[string]any{"event_id": r.url, "job_id": r.Job, "tenant_id": r.Tenant, "stage": "resolve_node",
		"status": "started", "attempt": 1, "at": time.Now().UTC(), "run_url": r.url})
	l.send(ctx, "POST", "/internal/trace-events", string(text), "", http.StatusOK)
	node, dedicated := r.Target, r.Dedicated == "true"
	if node == "" {
		node = "node-" + strings.ReplaceAll(r.Job, "_", "-")
		owner := ""
		if dedicated {
			owner = r.Tenant
		}
		text, _ = json.Marshal(map[string]any{"node_id": node, "region": r.Region, "host": "192.0.2.1", "job_id": r.Job,
			"dedicated": dedicated, "tenant_id": owner})
		l.send(ctx, "POST", "/internal/nodes", string(text), "", http.StatusOK, http.StatusCreated)
	}
	end := map[string]any{"job_id": r.Job, "tenant_id": r.Tenant, "status": "Completed", "node_id": node, "host": "192.0.2.1", "run_url": r.url, "attempt": 1}
	fails := r.attempt == 1 && strings.HasSuffix(r.Tenant, "5")
	if fails {
		end["status"], end["error"] = "Failed", "on purpose"
	}
	text, _ = json.Marshal(end)
	a := l.send(ctx, "POST", "/internal/provision-complete", string(text), "", http.StatusOK)
	// Whoever was not heard before is told that the job has ended.
	if !strings.Contains(string(a.body), fmt.Sprintf(`"status":%q`, end["status"])) && ctx.Err() == nil {
		l.t.Errorf("complete job %s as %s: %s", r.Job, end["status"], a.body)
	}
	l.mu.Lock()
	l.events++
	l.nodes[node] = true
	if !fails {
		l.ended[r.Job] = "Completed"
	}
	l.mu.Unlock()
	if !fails {
		return
	}
	a = l.send(ctx, "POST", "/internal/provision-jobs/"+r.Job+"/retry", "", "", http.StatusAccepted, http.StatusConflict)
	if a.status == http.StatusConflict && !a.doubtful {
		l.t.Errorf("retry job %s: %s", r.Job, a.body)
	}
}

// agent pushes the metrics of a node, each a little different, and checks before each that
// the last one that was acknowledged is there.
func (l *loader) agent(ctx context.Context, node string) {
	path := "/internal/nodes/" + node
	last := ""
	for n := 0; !l.closed() && ctx.Err() == nil; n++ {
		if a := l.send(ctx, "GET", path, "", "", http.StatusOK); !strings.Contains(string(a.body), last) && ctx.Err() == nil {
			l.t.Errorf("node %s: %s, want %s", node, a.body, last)
		}
		pushed := fmt.Sprintf(`"cpu_pct":%d.5`, n%99)
		l.send(ctx, "POST", "/internal/server-metrics", fmt.Sprintf(`{"node_id":%q,"memory_pct":40,%s,"save_snapshot":true}`, node, pushed), "", http.StatusOK)
		last = pushed
	}
}
