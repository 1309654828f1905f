package postgresledger_test

import (
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/ledgertest"
	"github.com/pregoi/provision-tenant/internal/dispatch/postgresledger"
	"github.com/pregoi/provision-tenant/internal/postgrestest"
	"github.com/pregoi/provision-tenant/internal/provision"
)

func TestServer(t *testing.T) {
	server := postgrestest.Start(t)
	address := func() string { return server.Address(server.Database(t, "")) }
	// Where the server's transactions are serializable, those that are in each other's way
	// fail, and are sent again.
	for _, level := range []string{"read committed", "serializable"} {
		t.Run("conformance, "+level, func(t *testing.T) {
			ledgertest.Run(t, func(t *testing.T) (a, b ledgertest.Ledger) {
				own := address() + "&default_transaction_isolation=" + url.PathEscape(level)
				return open(t, own), open(t, own)
			})
		})
	}
	t.Run("lost answers", func(t *testing.T) { lostAnswer(t, address()) })
	// Dispatchers that start at once on an empty database do not disturb each other.
	t.Run("open at once", func(t *testing.T) {
		own := address()
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
		own := address() + "&default_transaction_read_only=on"
		if _, err := postgresledger.Open(t.Context(), own); provision.ClassOf(err) != provision.Busy {
			t.Errorf("Open: %v", err)
		}
	})
	t.Run("no such database", func(t *testing.T) {
		if _, err := postgresledger.Open(t.Context(), server.Address("nowhere")); provision.ClassOf(err) != provision.NotFound {
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
	s := postgrestest.Start(t)
	l := open(t, s.Address("postgres"))
	if ok, err := l.Save(t.Context(), dispatch.Record{JobID: "job"}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	s.Stop(syscall.SIGQUIT) // at once, as after a crash
	if _, err := l.Load(t.Context(), "job"); provision.ClassOf(err) != provision.Busy {
		t.Errorf("a server that is not there: %v", err)
	}
	s.Run()
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
