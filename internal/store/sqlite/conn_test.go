package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
)

// A statement whose rows are being read is not disturbed by the same statement.
func TestStatementTwice(t *testing.T) {
	db := connect(filepath.Join(t.TempDir(), "test.db"), 1, "")
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE numbers (n INTEGER); INSERT INTO numbers VALUES (1), (2), (3)"); err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	const query = "SELECT n FROM numbers WHERE n > ?1 ORDER BY n"
	var got []string
	outer, err := tx.QueryContext(t.Context(), query, 0)
	if err != nil {
		t.Fatal(err)
	}
	for outer.Next() {
		var a, b int
		if err := outer.Scan(&a); err != nil {
			t.Fatal(err)
		}
		inner, err := tx.QueryContext(t.Context(), query, a)
		if err != nil {
			t.Fatal(err)
		}
		for inner.Next() {
			if err := inner.Scan(&b); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(a, b))
		}
		if err := inner.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if want := "[1 2 1 3 2 3]"; outer.Err() != nil || fmt.Sprint(got) != want {
		t.Errorf("read %v, %v, want %s", got, outer.Err(), want)
	}
}

// Statements beyond those that are kept work as well.
func TestManyStatements(t *testing.T) {
	db := connect(filepath.Join(t.TempDir(), "test.db"), 1, "")
	defer db.Close()
	for i := range maxStatements + 10 {
		var n int
		if err := db.QueryRowContext(t.Context(), fmt.Sprintf("SELECT %d + ?1", i), 1).Scan(&n); err != nil || n != i+1 {
			t.Fatal(n, err)
		}
	}
}
