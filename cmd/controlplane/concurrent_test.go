package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestConcurrentOrders sends a hundred orders at the same moment that are the same, or in
// each other's way.
func TestConcurrentOrders(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, []string{"HOME=" + dir, "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"),
		"DATABASE_URL=sqlite://" + filepath.Join(dir, "test.db"), "INTERNAL_API_KEY=" + crashKey})
	defer s.stop(t)
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	l := &loader{t: t, client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
	l.at.set(s.listening(t))
	for _, test := range []struct {
		name string
		// order is the ith of round n.
		order func(n, i int) order
		// loses are what the others may be answered: the status, and a part of what they are told.
		loses map[int]string
		// same says which orders are one, and get one answer.
		same func(i, j int) bool
	}{
		{"the same key and body", func(n, _ int) order {
			return order{path: fmt.Sprintf("/internal/tenants/a-%d/enqueue-provision", n), key: fmt.Sprintf("a-%d", n), body: `{"plan_tier":"basic"}`}
		}, map[int]string{409: "is being answered"}, func(i, j int) bool { return true }},
		{"the same key, two bodies", func(n, i int) order {
			return order{path: fmt.Sprintf("/internal/tenants/b-%d/enqueue-provision", n), key: fmt.Sprintf("b-%d", n),
				body: fmt.Sprintf(`{"region":%q}`, []string{"sg", "eu"}[i%2])}
		}, map[int]string{409: "is being answered", 422: "was used for another request"}, func(i, j int) bool { return i%2 == j%2 }},
		{"one tenant, a key each", func(n, i int) order {
			return order{path: fmt.Sprintf("/internal/tenants/c-%d/enqueue-provision", n), key: fmt.Sprintf("c-%d-%d", n, i), body: `{}`}
		}, map[int]string{409: "has the job"}, func(i, j int) bool { return i == j }},
		{"one slug, a tenant each", func(n, i int) order {
			return order{path: "/v1/tenants", key: fmt.Sprintf("d-%d-%d", n, i), body: fmt.Sprintf(`{"tenant_id":"d-%d-%d","subdomain_slug":"slug-%d"}`, n, i, n)}
		}, map[int]string{409: "is taken"}, func(i, j int) bool { return i == j }},
		{"one tenant and slug, no key", func(n, i int) order {
			return order{path: fmt.Sprintf("/internal/tenants/e-%d/enqueue-provision", n), body: fmt.Sprintf(`{"subdomain_slug":"same-%d"}`, n)}
		}, map[int]string{409: "has the job"}, func(i, j int) bool { return i == j }},
	} {
		t.Run(test.name, func(t *testing.T) {
			for n := range 5 {
				orders := make([]order, 100)
				for i := range orders {
					orders[i] = test.order(n, i)
				}
				answers := together(t, l, orders)
				first := -1
				for i, a := range answers {
					text, lost := test.loses[a.status]
					switch {
					case a.status == http.StatusAccepted && first < 0:
						first = i
					case a.status == http.StatusAccepted && test.same(first, i) && string(a.body) == string(answers[first].body):
					case a.status == http.StatusAccepted:
						t.Errorf("round %d: order %d: %s, beside order %d: %s", n, i, a.body, first, answers[first].body)
					case !lost || !strings.Contains(string(a.body), text):
						t.Errorf("round %d: order %d: %d %s", n, i, a.status, a.body)
					}
				}
				if first < 0 {
					t.Fatalf("round %d: none of the orders was accepted", n)
				}
				l.one(t, orders[first], answers[first])
			}
		})
	}
}

// together sends all orders at once.
func together(t *testing.T, l *loader, orders []order) []reply {
	answers := make([]reply, len(orders))
	url := l.at.get(t.Context())
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i, o := range orders {
		all.Go(func() {
			<-begin
			var err error
			if answers[i], err = l.once(t.Context(), "POST", url+o.path, o.body, o.key); err != nil {
				t.Error(err)
			}
		})
	}
	close(begin)
	all.Wait()
	return answers
}

// one checks that there is one job of the tenant of an order that was accepted, the one that
// was answered; and that the same order gets the same answer.
func (l *loader) one(t *testing.T, o order, first reply) {
	t.Helper()
	var accepted struct {
		JobID    string `json:"job_id"`
		TenantID string `json:"tenant_id"`
	}
	var list struct{ Jobs []json.RawMessage }
	if err := json.Unmarshal(first.body, &accepted); err != nil {
		t.Fatal(err)
	}
	a := l.send(context.WithoutCancel(t.Context()), "GET", "/internal/provision-jobs?tenant_id="+accepted.TenantID, "", "", http.StatusOK)
	if err := json.Unmarshal(a.body, &list); err != nil || len(list.Jobs) != 1 || !strings.Contains(string(list.Jobs[0]), accepted.JobID) {
		t.Errorf("after %s the tenant's jobs are %s, %v", first.body, a.body, err)
	}
	if o.key == "" {
		return
	}
	o.answer = first.body
	l.again(t.Context(), &o)
}
