package sqlite_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/store"
)

// A try in the middle of which its process was killed is made again, as the same try: crashes
// neither give a job up nor make it wait longer.
func TestCrashIsNoTry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := open(t, path)
	if _, err := db.Enqueue(t.Context(), order("acme")); err != nil {
		t.Fatal(err)
	}
	left, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	// What a process leaves that is killed in the seventh try.
	if _, err := left.Exec("UPDATE river_job SET state = 'running', attempt = 7"); err != nil {
		t.Fatal(err)
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tries := 0
	if err := db.Work(ctx, func(_ context.Context, j store.Job, try int) error {
		defer cancel()
		tries = try
		return db.Dispatched(t.Context(), j.ID, store.Run{ID: "1"}, time.Now())
	}); err != nil {
		t.Fatal(err)
	}
	if tries != 7 {
		t.Errorf("it is handed out as try %d, want 7", tries)
	}
}
