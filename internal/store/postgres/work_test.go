package postgres_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/postgrestest"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/postgres"
)

// killed kills a process in the middle of its jobs: another gets them soon, for the same try, and
// none of them that is under way here.
func killed(t *testing.T, s *postgrestest.Server, database string) {
	const n = 3
	address := s.Address(database)
	db := open(t, address)
	for i := range n {
		if _, err := db.Enqueue(t.Context(), order(fmt.Sprint("tenant", i))); err != nil {
			t.Fatal(err)
		}
	}
	victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServer$")
	victim.Env = append(os.Environ(), "STORE_TO_KILL="+address)
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for begun := 0; begun < n && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "begun ") {
			begun++
		}
	}

	var alive atomic.Bool
	alive.Store(true)
	seen := make(chan int, 10*n)
	release := make(chan struct{})
	for _, db := range []*postgres.DB{db, open(t, address)} {
		work(t, db, func(ctx context.Context, j store.Job, try int) error {
			if alive.Load() {
				t.Errorf("%s is handed out while another process has it", j.ID)
			}
			seen <- try
			<-release
			return db.Dispatched(ctx, j.ID, store.Run{ID: "1"}, time.Now())
		})
	}
	<-time.After(3500 * time.Millisecond) // by then it would be taken for gone
	alive.Store(false)
	began := time.Now()
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // it was killed
	for range n {
		if try := await(t, seen); try != 1 {
			t.Errorf("try %d, want 1", try)
		}
	}
	took := time.Since(began)
	t.Logf("handed out again after %s", took)
	if took > 15*time.Second {
		t.Errorf("it took %s to hand them out again", took)
	}
	close(release)
	if len(seen) > 0 {
		t.Errorf("%d were handed out twice", len(seen))
	}
}

// hang begins jobs and does not end them.
func hang(t *testing.T, address string) {
	if err := open(t, address).Work(t.Context(), func(ctx context.Context, j store.Job, _ int) error {
		fmt.Println("begun", j.ID)
		<-ctx.Done()
		return ctx.Err()
	}); err != nil {
		t.Error(err)
	}
}

// cutOff takes the connection from a process by which others see it: it stops its jobs, and
// begins them again.
func cutOff(t *testing.T, s *postgrestest.Server, database string) {
	address := s.Address(database)
	db := open(t, address)
	begun, ended := make(chan int, 10), make(chan error, 10)
	var times atomic.Int32
	work(t, db, func(ctx context.Context, j store.Job, try int) error {
		begun <- try
		if times.Add(1) > 1 {
			return db.Dispatched(ctx, j.ID, store.Run{ID: "1"}, time.Now())
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})
	if _, err := db.Enqueue(t.Context(), order("acme")); err != nil {
		t.Fatal(err)
	}
	await(t, begun)
	s.Exec(t, database, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	began := time.Now()
	await(t, ended)
	if took := time.Since(began); took > time.Second {
		t.Errorf("it was noticed after %s", took)
	}
	if try := await(t, begun); try != 1 {
		t.Errorf("it is handed out again as try %d, want 1", try)
	}
	if j, err := db.Job(t.Context(), "job_acme"); err != nil || j.Error != "" {
		t.Errorf("the job: %+v, %v", j, err)
	}
}

// lockedOut lets nobody of the process's role in for a while, as when its password is changed:
// it goes on handing out jobs after that.
func lockedOut(t *testing.T, s *postgrestest.Server, database string) {
	s.Exec(t, database, "CREATE ROLE guest LOGIN SUPERUSER")
	db := open(t, strings.Replace(s.Address(database), "tester@", "guest@", 1))
	begun := make(chan string, 10)
	work(t, db, func(ctx context.Context, j store.Job, try int) error {
		begun <- j.ID
		return db.Dispatched(ctx, j.ID, store.Run{ID: "1"}, time.Now())
	})
	if _, err := db.Enqueue(t.Context(), order("acme")); err != nil {
		t.Fatal(err)
	}
	await(t, begun)
	s.Exec(t, database, "ALTER ROLE guest NOLOGIN", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'guest'")
	if _, err := db.Enqueue(t.Context(), order("beta")); err == nil {
		t.Error("it may log in after all")
	}
	<-time.After(2 * time.Second) // it has tried, too
	s.Exec(t, database, "ALTER ROLE guest LOGIN")
	if _, err := db.Enqueue(t.Context(), order("cedar")); err != nil {
		t.Fatal(err)
	}
	for await(t, begun) != "job_cedar" {
	}
}

// work lets db hand out jobs until the end of the test.
func work(t *testing.T, db *postgres.DB, handle func(ctx context.Context, j store.Job, try int) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- db.Work(ctx, handle) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Work = %v", err)
		}
	})
}
