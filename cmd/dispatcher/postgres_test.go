package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/postgrestest"
	"github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// Two processes consume one queue with one ledger at a real server, and one of them is
// killed again and again: every job has one run, and both have had their part.
func TestTwoOnPostgres(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	l := newLab(t, cloudflare.QueueOptions{DuplicateEvery: 5}, github.Unlimited())
	l.env = append(l.env, "DATABASE_URL="+server.Address("postgres"))
	l.github.Faults.Set(func(r *http.Request) standin.Action {
		if r.Method == http.MethodPost {
			return standin.Action{Delay: 30 * time.Millisecond} // so that it takes a while
		}
		return standin.Action{}
	})
	const jobs = 200
	l.send(0, jobs)
	args := append([]string{"consume", "--json", "--visibility", "5s", "--lease", "1s", "--window", "1s", "--idle", "1s", "--queue-gap", "0", "--batch", "5"}, unlimited...)
	a := l.start(args...)
	lives := []*life{l.start(args...)}
	tick := time.NewTicker(600 * time.Millisecond)
	defer tick.Stop()
	for range 4 {
		<-tick.C
		lives[len(lives)-1].kill()
		lives = append(lives, l.start(args...))
	}
	l.emptied(2 * time.Minute)
	l.eachOnce(jobs)
	l.stop(a)
	l.stop(lives[len(lives)-1])
	var b int
	for _, p := range lives {
		b += strings.Count(p.logs.String(), `"recorded":false`)
	}
	t.Logf("one has started %d runs, the other %d", strings.Count(a.logs.String(), `"recorded":false`), b)
	if b == 0 || b == jobs {
		t.Error("one has done all")
	}

	// The command takes the same ledger: what is there is not sent again.
	message := filepath.Join(l.dir, "message.json")
	if err := os.WriteFile(message, labMessage(7), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(l.program, "dispatch", "--repo", "pregoi/prego", message)
	cmd.Env = l.env
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "is recorded already; nothing was sent") {
		t.Errorf("dispatch: %v\n%s", err, out)
	}
	l.eachOnce(jobs)
}
