package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/sqliteledger"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// most is how long an end may take, and how much an idle daemon may have in memory.
const (
	mostTime   = 7 * time.Second
	mostMemory = 30 << 20
)

// A consuming process that is told to end finishes what is under way, gives the rest back
// at once, and loses nothing; also when GitHub or the queue hangs.
func TestDrain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		github       time.Duration // how long each run takes to start, after its effect
		queue        time.Duration // how long each settlement takes
		most, leased int
	}{
		{"a slow GitHub", 1500 * time.Millisecond, 0, 3, 0},
		{"GitHub hangs", time.Hour, 0, 3, 0},
		{"the queue hangs", 100 * time.Millisecond, time.Hour, 20, 20},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, cloudflare.QueueOptions{}, github.Unlimited())
			l.send(0, 15)
			started := make(chan struct{}, 100)
			l.github.Faults.Set(func(r *http.Request) standin.Action {
				if r.Method != http.MethodPost {
					return standin.Action{}
				}
				started <- struct{}{}
				return standin.Action{Delay: test.github}
			})
			l.queues.Faults.Set(func(r *http.Request) standin.Action {
				if strings.HasSuffix(r.URL.Path, "/ack") {
					return standin.Action{Delay: test.queue}
				}
				return standin.Action{}
			})
			p := l.start(append([]string{"consume", "--json"}, unlimited...)...)
			<-started
			if took := l.stop(p); took > mostTime {
				t.Errorf("took %v", took)
			}
			c := l.queues.Counts("jobs")
			if c.Leased > test.leased || len(l.github.Runs()) > test.most || c.Acked > len(l.github.Runs()) {
				t.Errorf("%d runs, %+v", len(l.github.Runs()), c)
			}
			// Another goes on where it has stopped, and starts nothing twice.
			l.github.Faults.Set(nil)
			l.queues.Faults.Set(nil)
			if test.leased > 0 {
				return // its leases last for minutes
			}
			next := l.start(append([]string{"consume", "--json", "--once"}, unlimited...)...)
			<-next.done
			for id, n := range l.perJob() {
				if n != 1 {
					t.Errorf("%s has %d runs", id, n)
				}
			}
		})
	}
}

// Idle daemons are small, answer about themselves, and end quickly.
func TestIdleMemory(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"consume": {"consume", "--json", "--repo", "pregoi/prego", "--addr", "127.0.0.1:0"},
		"serve":   {"serve", "--json", "--repo", "pregoi/prego", "--addr", "127.0.0.1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, cloudflare.QueueOptions{}, github.Limits{})
			l.send(0, 2)
			p := l.start(args...)
			base := l.listening(p)
			if name == "serve" {
				for i := range 2 {
					l.post(base+"/dispatch", string(labMessage(i)), 200)
				}
			} else {
				l.emptied(30 * time.Second)
			}
			l.get(base + "/readyz")
			l.get(base + "/jobs/job-1")
			l.get(base + "/refusals")
			text := l.get(base + "/metrics")
			for _, line := range []string{`dispatcher_dispatches_total{outcome="accepted"} 2`, `dispatcher_github_requests_total{request="read",result="ok"} 1`,
				`dispatcher_github_requests_total{request="start",result="ok"} 2`, "dispatcher_limits_writes_last_hour 2"} {
				if !strings.Contains(text, line) {
					t.Errorf("there is no %s in\n%s", line, text)
				}
			}
			now, most := l.memory(p)
			t.Logf("%.1f MB in memory, %.1f at most", float64(now)/(1<<20), float64(most)/(1<<20))
			if now > mostMemory {
				t.Errorf("%d bytes in memory", now)
			}
			if took := l.stop(p); took > mostTime || p.err != nil {
				t.Errorf("took %v to end: %v\n%s", took, p.err, p.logs.Bytes())
			}
		})
	}
}

// What serve has taken on goes on after a kill.
func TestServeKill(t *testing.T) {
	t.Parallel()
	l := newLab(t, cloudflare.QueueOptions{}, github.Unlimited())
	args := append([]string{"serve", "--json", "--addr", "127.0.0.1:0", "--wait", "100ms", "--lease", "1s", "--window", "1s"}, unlimited...)
	l.github.Faults.Set(func(r *http.Request) standin.Action {
		if r.Method == http.MethodPost {
			return standin.Action{Delay: 300 * time.Millisecond}
		}
		return standin.Action{}
	})
	p := l.start(args...)
	base := l.listening(p)
	for i := range 8 {
		l.post(base+"/dispatch", string(labMessage(i)), 202)
	}
	p.kill()
	l.github.Faults.Set(nil)
	p = l.start(args...)
	base = l.listening(p)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && len(l.perJob()) < 8; {
		<-tick.C
	}
	l.eachOnce(8)
	l.post(base+"/dispatch", string(labMessage(3)), 200)
}

// An operator who has a job done once more gets one more run, however often it is asked for.
func TestServeAttempt(t *testing.T) {
	t.Parallel()
	l := newLab(t, cloudflare.QueueOptions{}, github.Unlimited())
	base := l.listening(l.start(append([]string{"serve", "--json", "--addr", "127.0.0.1:0"}, unlimited...)...))
	first := string(labMessage(0))
	second := strings.Replace(first, "{", `{"attempt":"2",`, 1)
	for _, body := range []string{first, first, second, second, first} {
		l.post(base+"/dispatch", body, 200)
	}
	if text := l.get(base + "/jobs/job-0"); !strings.Contains(text, `"attempt":2`) {
		t.Error(text)
	}
	if n := l.perJob()["job-0"]; n != 2 {
		t.Errorf("%d runs", n)
	}
}

// 500 messages in an hour do not cost 500 reads of the workflow file.
func TestWorkflowIsCached(t *testing.T) {
	t.Parallel()
	l := newLab(t, cloudflare.QueueOptions{}, github.Unlimited())
	l.send(0, 50)
	reads := make(chan struct{}, 100)
	l.github.Faults.Set(func(r *http.Request) standin.Action {
		if strings.Contains(r.URL.Path, "/contents/") {
			reads <- struct{}{}
		}
		return standin.Action{}
	})
	p := l.start(append([]string{"consume", "--json", "--once"}, unlimited...)...)
	<-p.done
	if n := len(reads); n != 1 {
		t.Errorf("the file was read %d times", n)
	}
	l.eachOnce(50)
}

// CONSUME=100000 sends so many messages through one process, with all limits off, and says
// how long that takes and how much memory.
func TestThroughput(t *testing.T) {
	jobs, _ := strconv.Atoi(os.Getenv("CONSUME"))
	if jobs == 0 {
		t.Skip("CONSUME is not set to a number of messages")
	}
	l := newLab(t, cloudflare.QueueOptions{}, github.Unlimited())
	l.send(0, jobs)
	began := time.Now()
	p := l.start(append([]string{"consume", "--json", "--queue-gap", "0", "--batch", "100", "--addr", "127.0.0.1:0"}, unlimited...)...)
	l.emptied(2 * time.Hour)
	took := time.Since(began)
	now, most := l.memory(p)
	l.stop(p)
	cpu := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	t.Logf("%d messages in %v, %.0f in a second; %v of CPU for each; %.1f MB in memory, %.1f at most", jobs, took.Round(time.Millisecond),
		float64(jobs)/took.Seconds(), (cpu / time.Duration(jobs)).Round(time.Microsecond), float64(now)/(1<<20), float64(most)/(1<<20))
	l.eachOnce(jobs)
}

// full is a ledger on a disk that may be full.
type full struct {
	openLedger
	err error
}

func (l *full) SaveTally(ctx context.Context, t dispatch.Tally) (bool, error) {
	if l.err != nil {
		return false, l.err
	}
	return l.openLedger.SaveTally(ctx, t)
}

// A dispatcher whose ledger cannot be written to is not ready: it can take no message.
func TestReady(t *testing.T) {
	t.Parallel()
	k := newDesk(t, nil)
	file, err := sqliteledger.Open(t.Context(), filepath.Join(t.TempDir(), "d.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() }) // what is in it is gone with its folder
	l := &full{file, provision.Errorf(provision.Busy, "the disk is full")}
	d := &daemon{sender: k.sender, ledger: l}
	d.Pace = &dispatch.Pace{Slots: l}
	ready := d.config("", nil).Ready
	if err := ready(t.Context()); provision.ClassOf(err) != provision.Busy {
		t.Errorf("with a full disk: %v", err)
	}
	why := l.err
	l.err = nil
	if err := ready(t.Context()); err != nil {
		t.Errorf("with room on it: %v", err)
	}
	l.err = why // which is asked again later, and not each time
	if err := ready(t.Context()); err != nil {
		t.Errorf("a moment later: %v", err)
	}
}
