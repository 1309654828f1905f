package postgresledger_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/ledgertest"
	"github.com/pregoi/provision-tenant/internal/dispatch/postgresledger"
	"github.com/pregoi/provision-tenant/internal/provision"
)

func TestServer(t *testing.T) {
	server := start(t)
	address := server.address
	// Where the server's transactions are serializable, those that are in each other's way
	// fail, and are sent again.
	for _, level := range []string{"read committed", "serializable"} {
		t.Run("conformance, "+level, func(t *testing.T) {
			n := 0
			var mu sync.Mutex
			ledgertest.Run(t, func(t *testing.T) (a, b ledgertest.Ledger) {
				mu.Lock()
				defer mu.Unlock()
				n++
				own := space(t, address, fmt.Sprintf("%s%d", level[:4], n)) + "&default_transaction_isolation=" + url.PathEscape(level)
				return open(t, own), open(t, own)
			})
		})
	}
	t.Run("lost answers", func(t *testing.T) { lostAnswer(t, server) })
	// Dispatchers that start at once on an empty database do not disturb each other.
	t.Run("open at once", func(t *testing.T) {
		own := space(t, address, "at_once")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				l, err := postgresledger.Open(t.Context(), own)
				if err != nil {
					t.Error(err)
					return
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	// One that has become the copy of another is taken for what it is: it does not stay so.
	t.Run("only read from", func(t *testing.T) {
		own := space(t, address, "copy") + "&default_transaction_read_only=on"
		if _, err := postgresledger.Open(t.Context(), own); provision.ClassOf(err) != provision.Busy {
			t.Errorf("Open: %v", err)
		}
	})
	t.Run("no such database", func(t *testing.T) {
		nowhere := strings.Replace(address, "/postgres?", "/nowhere?", 1)
		if _, err := postgresledger.Open(t.Context(), nowhere); provision.ClassOf(err) != provision.NotFound {
			t.Errorf("Open: %v", err)
		}
	})
}

func TestNoServer(t *testing.T) {
	for address, class := range map[string]provision.Class{
		"postgres://u:s3cret@127.0.0.1:1/x?connect_timeout=1": provision.Busy,
		"postgres://u:s3cret@127.0.0.1:port/x":                provision.Invalid,
	} {
		_, err := postgresledger.Open(t.Context(), address)
		if provision.ClassOf(err) != class || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v of class %s, want %s", err, provision.ClassOf(err), class)
		}
	}
}

// A server that is stopped and started again is found again, with what was saved.
func TestRestart(t *testing.T) {
	s := start(t)
	l := open(t, s.address)
	if ok, err := l.Save(t.Context(), dispatch.Record{JobID: "job"}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	s.stop(syscall.SIGQUIT) // at once, as after a crash
	if _, err := l.Load(t.Context(), "job"); provision.ClassOf(err) != provision.Busy {
		t.Errorf("a server that is not there: %v", err)
	}
	s.run()
	if r, err := l.Load(t.Context(), "job"); err != nil || r.Version != 1 {
		t.Errorf("after the restart: %+v, %v", r, err)
	}
}

func open(t *testing.T, address string) *postgresledger.Ledger {
	t.Helper()
	l, err := postgresledger.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// space makes a schema of its own for a test, in which its tables are.
func space(t *testing.T, address, name string) string {
	t.Helper()
	c, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Exec(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return address + "&search_path=" + name
}

// A postgres is a real server in a folder of its own.
type postgres struct {
	t       *testing.T
	dir     string
	port    string
	address string
	as      *syscall.SysProcAttr
	cmd     *exec.Cmd
}

// start starts a server that ends with the test. Where no Postgres is installed, the test
// is skipped.
func start(t *testing.T) *postgres {
	t.Helper()
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s on PATH: the ledger was not tested on a real server", program)
		}
	}
	// A test's own folder lies below ones that only its user may enter.
	dir, err := os.MkdirTemp("", "ledger")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &postgres{t: t, dir: dir, as: owner(t, dir)}
	out, err := s.command("initdb", "-D", filepath.Join(dir, "data"), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync").CombinedOutput()
	if err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, s.port, _ = net.SplitHostPort(free.Addr().String())
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	s.address = "postgres://tester@127.0.0.1:" + s.port + "/postgres?sslmode=disable"
	s.run()
	t.Cleanup(func() { s.stop(syscall.SIGQUIT) })
	return s
}

// owner gives dir to another user where we are root, as whom Postgres does not run.
func owner(t *testing.T, dir string) *syscall.SysProcAttr {
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

func (s *postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.as
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	return cmd
}

// run starts the server and waits until it answers.
func (s *postgres) run() {
	s.t.Helper()
	s.cmd = s.command("postgres", "-D", filepath.Join(s.dir, "data"), "-p", s.port, "-k", s.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=50")
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgx.Connect(ctx, s.address)
		if err == nil {
			_ = c.Close(ctx) // it has answered
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("postgres does not answer: %v", err)
		case <-tick.C:
		}
	}
}

// stop ends the server with a signal, and waits for it.
func (s *postgres) stop(signal syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal)
	_ = s.cmd.Wait() // the status is the signal's
	s.cmd = nil
}
