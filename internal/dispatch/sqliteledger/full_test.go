package sqliteledger

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A full disk is said to be one, and what was not saved can be saved when there is room.
func TestFull(t *testing.T) {
	l, err := Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	pages := func(n string) {
		t.Helper()
		if _, err := l.db.ExecContext(t.Context(), "PRAGMA max_page_count = "+n); err != nil {
			t.Fatal(err)
		}
	}
	pages("1") // as many as there are
	r := dispatch.Record{JobID: "job", Reason: strings.Repeat("x", 1<<20)}
	if ok, err := l.Save(t.Context(), r); ok || provision.ClassOf(err) != provision.Busy || !strings.Contains(provision.NextAction(err), "make room") {
		t.Errorf("Save = %t, %v; next %q", ok, err, provision.NextAction(err))
	}
	pages("100000")
	if ok, err := l.Save(t.Context(), r); !ok || err != nil {
		t.Errorf("with room: %t, %v", ok, err)
	}
}
