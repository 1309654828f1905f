package main

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// The process is killed 200 times while it consumes: at any moment, and on both sides of
// what a request does. Messages come all the time, some of them twice. Every job has one run.
func TestKill(t *testing.T) {
	t.Parallel()
	lives := 200
	if testing.Short() {
		lives = 25
	}
	l := newLab(t, cloudflare.QueueOptions{DuplicateEvery: 7}, github.Unlimited())
	var victim atomic.Pointer[life]
	var left atomic.Int32 // requests that are let by before the one that kills
	var after atomic.Bool
	trap := func(path string) func(*http.Request) standin.Action {
		return func(r *http.Request) standin.Action {
			p := victim.Load()
			if p == nil || r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, path) || left.Add(-1) != 0 {
				return standin.Action{}
			}
			kill := func() { _ = p.cmd.Process.Kill() }
			if after.Load() {
				return standin.Action{After: kill}
			}
			return standin.Action{Before: kill}
		}
	}
	l.github.Faults.Set(trap("/dispatches"))
	l.queues.Faults.Set(trap("/messages/ack"))
	args := append([]string{"consume", "--json", "--visibility", "5s", "--lease", "1s", "--window", "1s", "--idle", "1s", "--queue-gap", "0"}, unlimited...)
	sent, began := 0, time.Now()
	random := rand.New(rand.NewPCG(1, 2))
	for n := range lives {
		l.send(sent, 3)
		sent += 3
		// A job that was cut off twice before its effect waits for a minute and more: not in
		// the last lives, so that the end need not be waited for.
		after.Store(n > lives/2 || random.IntN(2) == 0)
		left.Store(0)
		if n%2 == 0 { // at a request; the others at a moment
			left.Store(1 + random.Int32N(4))
		}
		p := l.start(args...)
		victim.Store(p)
		select {
		case <-p.done:
			if p.err == nil || p.cmd.ProcessState.Exited() {
				t.Fatalf("it has ended by itself: %v\n%s", p.err, p.logs.Bytes())
			}
		case <-time.After(20*time.Millisecond + time.Duration(random.Int64N(int64(230*time.Millisecond)))):
		}
		p.kill()
	}
	victim.Store(nil)
	t.Logf("%d lives in %v", lives, time.Since(began).Round(time.Millisecond))
	p := l.start(args...)
	l.emptied(4 * time.Minute)
	if took := l.stop(p); took > 7*time.Second {
		t.Errorf("SIGTERM took %v", took)
	}
	l.eachOnce(sent)
	c := l.queues.Counts("jobs")
	t.Logf("%d jobs, %d deliveries, %d leases lost, %v", sent, c.Delivered, c.LeasesLost, time.Since(began).Round(time.Millisecond))
	if c.LeasesLost == 0 {
		t.Error("no kill has cost a lease: nothing was tested")
	}
}
