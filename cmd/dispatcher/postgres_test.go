package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// Two processes consume one queue with one ledger at a real server, and one of them is
// killed again and again: every job has one run, and both have had their part.
func TestTwoOnPostgres(t *testing.T) {
	t.Parallel()
	address := startPostgres(t)
	l := newLab(t, cloudflare.QueueOptions{DuplicateEvery: 5}, github.Unlimited())
	l.env = append(l.env, "DATABASE_URL="+address)
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

// startPostgres starts a server that ends with the test, and returns its address. Where no
// Postgres is installed, the test is skipped.
func startPostgres(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s on PATH: nothing was tested on a real server", program)
		}
	}
	// A test's own folder lies below ones that only its user may enter.
	dir, err := os.MkdirTemp("", "dispatcher")
	if err != nil {
		t.Fatal(err)
	}
	as := postgresUser(t, dir)
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.SysProcAttr, cmd.Env = dir, as, []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := command("initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	server := command("postgres", "-D", data, "-p", port, "-k", dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGQUIT)
		_ = server.Wait() // the status is the signal's
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	address := "postgres://tester@127.0.0.1:" + port + "/postgres?sslmode=disable"
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgx.Connect(ctx, address)
		if err == nil {
			_ = c.Close(ctx) // it has answered
			return address
		}
		select {
		case <-ctx.Done():
			t.Fatalf("postgres does not answer: %v", err)
		case <-tick.C:
		}
	}
}

// postgresUser gives dir to another user where we are root, as whom Postgres does not run.
func postgresUser(t *testing.T, dir string) *syscall.SysProcAttr {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Skipf("we are root, and Postgres needs another user: %v", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		t.Skipf("the user nobody has no number: %v, %v", err1, err2)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}
