package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/postgrestest"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/postgres"
	"github.com/pregoi/provision-tenant/internal/store/storetest"
)

func TestServer(t *testing.T) {
	if address := os.Getenv("STORE_TO_KILL"); address != "" {
		hang(t, address) // this is the process that a test kills
		return
	}
	s := postgrestest.Start(t)
	model := s.Database(t, "")
	t.Run("open at once", func(t *testing.T) { openAtOnce(t, s.Address(model)) })
	t.Run("conformance", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Database {
			own := s.Address(s.Database(t, model))
			return func(t *testing.T) store.Store { return open(t, own) }
		})
	})
	for name, test := range map[string]func(t *testing.T, s *postgrestest.Server, database string){
		"the key of another process":     keyElsewhere,
		"placement sees other processes": placementElsewhere,
		"the turn of another process":    turnElsewhere,
		"close while waiting":            closeWaiting,
		"lost answers":                   lostAnswers,
		"broken text":                    brokenText,
		"read only":                      readOnly,
		"a password":                     password,
		"a killed process":               killed,
		"a process that is cut off":      cutOff,
		"a role that may not log in":     lockedOut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s, s.Database(t, model))
		})
	}
}

// openAtOnce lets processes start together on an empty database.
func openAtOnce(t *testing.T, address string) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			db, err := postgres.Open(t.Context(), address, store.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// keyElsewhere asks another process while the first decides on the key.
func keyElsewhere(t *testing.T, s *postgrestest.Server, database string) {
	first, second := open(t, s.Address(database)), open(t, s.Address(database))
	inside, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
	o := keyed("acme")
	o.Answer = func(store.Job) ([]byte, error) { close(inside); <-release; return []byte("{}"), nil }
	go func() {
		_, err := first.Enqueue(t.Context(), o)
		done <- err
	}()
	<-inside
	_, err := second.Enqueue(t.Context(), keyed("acme"))
	if !errors.As(err, new(*store.InFlightError)) {
		t.Errorf("the same key meanwhile: %v, want an InFlightError", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if r, err := second.Enqueue(t.Context(), keyed("acme")); err != nil || !r.Replayed {
		t.Errorf("the same key after it: %+v, %v", r, err)
	}
}

// placementElsewhere asks a process that writes nothing itself.
func placementElsewhere(t *testing.T, s *postgrestest.Server, database string) {
	writer, reader := open(t, s.Address(database)), open(t, s.Address(database))
	for i := range 4 {
		id := fmt.Sprint("n", i)
		put(t, writer, id)
		if i > 0 {
			if _, err := writer.Enqueue(t.Context(), order(fmt.Sprint("tenant", i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := reader.Placement(t.Context(), func(x *placement.Index) {
			total := 0
			for _, n := range x.Nodes() {
				total += n.Tenants
			}
			if n := len(x.Nodes()); n != i+1 || total != i {
				t.Errorf("%d nodes with %d tenants, want %d with %d", n, total, i+1, i)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// turnElsewhere waits for somebody who does not give the turn back.
func turnElsewhere(t *testing.T, s *postgrestest.Server, database string) {
	db := open(t, s.Address(database)+"&lock_timeout=200ms")
	release := holdTurn(t, s.Address(database))
	_, err := db.Enqueue(t.Context(), order("acme"))
	wantClass(t, "Enqueue without a turn", err, provision.Busy)
	release()
	if _, err := db.Enqueue(t.Context(), order("acme")); err != nil {
		t.Error(err)
	}
}

// closeWaiting closes a store that waits for its turn.
func closeWaiting(t *testing.T, s *postgrestest.Server, database string) {
	db, err := postgres.Open(t.Context(), s.Address(database), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	holdTurn(t, s.Address(database))
	done := make(chan error)
	go func() {
		_, err := db.Enqueue(t.Context(), order("acme"))
		done <- err
	}()
	until(t, s.Address(database), "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
	began := time.Now()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("Close took %s", took)
	}
	wantClass(t, "Enqueue when closed", <-done, provision.Busy)
}

// brokenText asks for what SQLite takes and Postgres does not, among others.
func brokenText(t *testing.T, s *postgrestest.Server, database string) {
	db := open(t, s.Address(database))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			id := fmt.Sprint("tenant", i)
			if i%5 == 0 {
				_, err := db.Retry(t.Context(), id+"\x00", "op", time.Now())
				wantClass(t, "a job with a zero byte", err, provision.NotFound)
			} else if _, err := db.Enqueue(t.Context(), order(id)); err != nil {
				t.Errorf("its neighbour: %v", err)
			}
		})
	}
	wg.Wait()
}

// readOnly writes to a database that does not take it, as a standby.
func readOnly(t *testing.T, s *postgrestest.Server, database string) {
	db := open(t, s.Address(database))
	s.Exec(t, "postgres", "ALTER DATABASE "+database+" SET default_transaction_read_only = on")
	s.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+database+"'")
	_, err := db.Enqueue(t.Context(), order("acme"))
	wantClass(t, "Enqueue at a standby", err, provision.Busy)
	wantClass(t, "Ping at a standby", db.Ping(t.Context()), provision.Busy) // others may have another server
	s.Exec(t, "postgres", "ALTER DATABASE "+database+" SET default_transaction_read_only = off")
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("Ping when another has taken over: %v", err)
	}
	if _, err := db.Enqueue(t.Context(), order("acme")); err != nil {
		t.Errorf("Enqueue when another has taken over: %v", err)
	}
}

// password comes with another password than that of the role, and with the right one.
func password(t *testing.T, s *postgrestest.Server, database string) {
	s.Exec(t, database, "CREATE ROLE "+postgrestest.Guarded+" LOGIN SUPERUSER PASSWORD 'right-one'")
	as := func(secret string) string {
		return strings.Replace(s.Address(database), "tester@", postgrestest.Guarded+":"+secret+"@", 1)
	}
	if _, err := postgres.Open(t.Context(), as("wr0ng-one"), store.Options{}); provision.ClassOf(err) != provision.Denied || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("Open with another password: %v of class %s", err, provision.ClassOf(err))
	}
	open(t, as("right-one"))
}

func TestNoServer(t *testing.T) {
	for address, class := range map[string]provision.Class{
		"postgres://u:s3cret@127.0.0.1:1/x":    provision.Busy,
		"postgres://u:s3cret@127.0.0.1:port/x": provision.Invalid,
		"postgres://u:s3cret%@127.0.0.1/x":     provision.Invalid,
	} {
		_, err := postgres.Open(t.Context(), address, store.Options{})
		if provision.ClassOf(err) != class || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v of class %s, want %s", err, provision.ClassOf(err), class)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := postgres.Open(ctx, "postgres://127.0.0.1:1/x", store.Options{}); provision.ClassOf(err) != provision.Cancelled {
		t.Errorf("Open: %v, want it cancelled", err)
	}
}

// A server that has no connection left is busy, one that crashes is found again with what
// was stored, and the work goes on.
func TestCrash(t *testing.T) {
	t.Parallel()
	s := postgrestest.Start(t, "max_connections=12", "superuser_reserved_connections=0")
	address := s.Address("postgres")
	db := open(t, address)
	ctx, stop := context.WithCancel(t.Context())
	seen, worked := make(chan string, 10), make(chan error)
	go func() {
		worked <- db.Work(ctx, func(ctx context.Context, j store.Job, _ int) error {
			seen <- j.ID
			return db.Dispatched(ctx, j.ID, store.Run{ID: "1"}, time.Now())
		})
	}()
	enqueue := func(tenant string) {
		t.Helper()
		if _, err := db.Enqueue(t.Context(), keyed(tenant)); err != nil {
			t.Fatal(err)
		}
		if id := await(t, seen); id != "job_"+tenant {
			t.Errorf("%s was handed out", id)
		}
	}
	enqueue("before")

	var all []*pgx.Conn
	for {
		c, err := pgx.Connect(t.Context(), address)
		if err != nil {
			break
		}
		all = append(all, c)
	}
	_, err := postgres.Open(t.Context(), address, store.Options{})
	wantClass(t, "Open without a connection", err, provision.Busy)
	for _, c := range all {
		_ = c.Close(t.Context()) // the server ends anyway
	}

	s.Stop(syscall.SIGQUIT) // at once, as after a crash
	_, err = db.Enqueue(t.Context(), keyed("meanwhile"))
	wantClass(t, "Enqueue without a server", err, provision.Busy)
	_, err = db.Job(t.Context(), "job_before")
	wantClass(t, "Job without a server", err, provision.Busy)
	s.Run()
	if r, err := db.Enqueue(t.Context(), keyed("before")); err != nil || !r.Replayed {
		t.Errorf("what was enqueued before: %+v, %v", r, err)
	}
	enqueue("after")
	stop()
	if err := <-worked; err != nil {
		t.Errorf("Work = %v", err)
	}
}
