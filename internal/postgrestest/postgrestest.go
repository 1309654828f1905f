// Package postgrestest runs a real Postgres server for a test: one of its own, in a folder
// of its own, from the programs initdb and postgres. Nothing but tests imports it.
//
// What every test of a database on Postgres needs is a function here; what is about one
// table stays in that table's test.
package postgrestest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a server may take to answer.
const patience = 30 * time.Second

// A Server is a Postgres server.
type Server struct {
	t        testing.TB
	bin      string // where its programs are
	dir      string
	port     string
	settings []string
	as       *syscall.SysProcAttr
	cmd      *exec.Cmd
	made     atomic.Int64 // databases
}

// Start starts a server that ends with the test, with settings such as "fsync=on": without
// any it is fast, and what it has stored survives its own death but not the machine's. Where
// no Postgres is installed the test is skipped, and says so.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	bin, ok := installed()
	if !ok {
		t.Skip("there is no initdb and postgres on PATH or in /usr/lib/postgresql: nothing was tested on a real server")
	}
	// A test's own folder lies below ones that only its user may enter.
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &Server{t: t, bin: bin, dir: dir, as: owner(t, dir), port: freePort(t), settings: settings}
	out, err := s.command("initdb", "-D", filepath.Join(dir, "data"), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync").CombinedOutput()
	if err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	// Everybody is let in, but for the one role that needs its password.
	rules := "host all " + Guarded + " 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
	if err := os.WriteFile(filepath.Join(dir, "data", "pg_hba.conf"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Run()
	t.Cleanup(func() { s.Stop(syscall.SIGQUIT) })
	return s
}

// Guarded is a role that is let in with its password only. A test that wants it makes it.
const Guarded = "guarded"

// Address names a database of the server, such as "postgres", which there always is.
func (s *Server) Address(database string) string {
	return "postgres://tester@127.0.0.1:" + s.port + "/" + database + "?sslmode=disable"
}

// Database makes an empty database, or a copy of another, and returns its name. It is there
// until the server ends.
func (s *Server) Database(t testing.TB, template string) string {
	t.Helper()
	name := "test" + strconv.FormatInt(s.made.Add(1), 10)
	statement := "CREATE DATABASE " + name
	if template != "" {
		statement += " TEMPLATE " + template
	}
	s.Exec(t, "postgres", statement)
	return name
}

// Exec executes statements in a database, as the server's owner.
func (s *Server) Exec(t testing.TB, database string, statements ...string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), s.Address(database))
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if _, err := c.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Run starts the server, unless it runs, and waits until it answers.
func (s *Server) Run() {
	s.t.Helper()
	if s.cmd != nil {
		return
	}
	args := []string{"-D", filepath.Join(s.dir, "data"), "-p", s.port, "-k", s.dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.cmd = s.command("postgres", args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgx.Connect(ctx, s.Address("postgres"))
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

// Stop ends the server with a signal, if it runs, and waits for it: SIGQUIT is at once, as
// in a crash; SIGINT ends every connection, and then the server.
func (s *Server) Stop(signal syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal)
	_ = s.cmd.Wait() // the status is the signal's
	s.cmd = nil
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.as
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	return cmd
}

// installed returns the folder of a Postgres server's programs. Debian and Ubuntu have one for
// each version, and leave it out of PATH.
func installed() (bin string, ok bool) {
	folders := filepath.SplitList(os.Getenv("PATH"))
	versions, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed
	slices.Reverse(versions)
	for _, dir := range append(folders, versions...) {
		_, err1 := exec.LookPath(filepath.Join(dir, "initdb"))
		_, err2 := exec.LookPath(filepath.Join(dir, "postgres"))
		if dir != "" && err1 == nil && err2 == nil {
			return dir, true
		}
	}
	return "", false
}

// owner gives dir to another user where we are root, as whom Postgres does not run.
func owner(t testing.TB, dir string) *syscall.SysProcAttr {
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

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}
