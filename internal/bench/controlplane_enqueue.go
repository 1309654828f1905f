package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/sqlite"
)

// enqueueNodes is how many nodes orders are placed on.
const enqueueNodes = 10_000

// benchEnqueue orders tenants of the process, by many callers at once, and then at a store
// in here with the same statements, the same driver and the same synchronous=FULL, by one
// caller: each order is a commit of its own, and there is no HTTP.
func benchEnqueue(ctx context.Context, runs int, dir, program string) (err error) {
	nodes := benchNodes(enqueueNodes)
	ours, err := startControlPlane(ctx, program, filepath.Join(dir, "enqueue.db"))
	if err != nil {
		return err
	}
	defer ours.stop()
	if err := register(ctx, ours.addr, nodes); err != nil {
		return err
	}
	peer, err := openPeer(ctx, filepath.Join(dir, "one-by-one.db"), nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, peer.Close()) }()

	var many, one atomic.Int64 // tenants so far
	sides := []*side{
		{name: fmt.Sprintf("HTTP, %d callers", enqueueConns), process: ours, measure: func(ctx context.Context, d time.Duration) (result, error) {
			l := load{addr: ours.addr, conns: enqueueConns, status: http.StatusAccepted, request: func(int64) []byte {
				n := many.Add(1)
				return post(fmt.Sprintf("/internal/tenants/tenant-%d/enqueue-provision", n),
					fmt.Sprintf(`{"plan_tier":"basic","region":%q,"subdomain_slug":"tenant-%d"}`, placement.Regions()[n%3], n), fmt.Sprintf("key-%d", n))
			}}
			return l.run(ctx, d)
		}},
		{name: "store, one by one", measure: func(ctx context.Context, d time.Duration) (result, error) {
			return oneByOne(ctx, peer, &one, d)
		}},
	}
	before, err := syncRate(dir)
	if err != nil {
		return err
	}
	if err := alternate(ctx, runs, sides); err != nil {
		return err
	}
	after, err := syncRate(dir)
	if err != nil {
		return err
	}
	fmt.Printf("\nenqueue, %d nodes, an Idempotency-Key each, SQLite with synchronous=FULL on %s:\n", enqueueNodes, fileSystem(dir))
	fmt.Printf("the disk alone: %s before, %s after\n", before, after)
	return printSides(sides)
}

// openPeer opens a store of the nodes. Its owner closes it.
func openPeer(ctx context.Context, path string, nodes []benchNode) (*sqlite.DB, error) {
	thresholds := placement.DefaultThresholds()
	thresholds.MetricsMaxAge = 24 * time.Hour
	db, err := sqlite.Open(ctx, path, store.Options{Thresholds: thresholds})
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, 64) // callers, whose changes share commits
	for i := range errs {
		all.Go(func() {
			for n := next.Add(1); n <= int64(len(nodes)) && errs[i] == nil; n = next.Add(1) {
				errs[i] = put(ctx, db, nodes[n-1])
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func put(ctx context.Context, db *sqlite.DB, n benchNode) error {
	_, err := db.PutNode(ctx, provision.Node{ID: n.ID, Region: n.Region, Host: "192.0.2.1", Status: provision.NodeActive,
		Provider: "hetzner", CreatedAt: time.Now()}, "")
	if err != nil {
		return err
	}
	return db.PutMetrics(ctx, store.Metrics{NodeID: n.ID, MemoryPct: &n.MemoryPct, TenantCount: n.Tenants, Source: "node_push", At: time.Now()})
}

// oneByOne orders tenants for a time d, each when the one before is on the disk.
func oneByOne(ctx context.Context, db *sqlite.DB, count *atomic.Int64, d time.Duration) (result, error) {
	var times []time.Duration
	start := time.Now()
	for time.Since(start) < d {
		begin := time.Now()
		if _, err := db.Enqueue(ctx, benchOrder(count.Add(1))); err != nil {
			return result{}, err
		}
		times = append(times, time.Since(begin))
	}
	return summary(times, time.Since(start)), nil
}

// benchOrder is the order that the server makes of the nth request.
func benchOrder(n int64) store.Order {
	tenant := fmt.Sprintf("tenant-%d", n)
	return store.Order{
		Key:      store.Key{Scope: "internal POST enqueue-provision", Value: fmt.Sprintf("key-%d", n), Hash: strings.Repeat("0123456789abcdef", 4)},
		JobID:    store.NewJobID(time.Now()),
		TraceID:  "trace_" + strings.ToLower(rand.Text()),
		Actor:    "internal",
		TenantID: tenant,
		Tier:     placement.Basic,
		Slug:     tenant,
		Domain:   "pregoi.com",
		Decide: func(w store.World) placement.Decision {
			return w.Nodes.Decide(placement.Request{Tier: placement.Basic, Region: placement.Regions()[n%3]}, time.Now(), placement.DefaultCandidates)
		},
		Answer: func(j store.Job) ([]byte, error) {
			return json.Marshal(map[string]any{"job_id": j.ID, "tenant_id": j.TenantID, "trace_id": j.TraceID,
				"status": j.Status, "canonical_hostname": j.CanonicalHostname})
		},
		Now: time.Now(),
	}
}
