package sqliteledger_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/ledgertest"
	"github.com/pregoi/provision-tenant/internal/dispatch/sqliteledger"
	"github.com/pregoi/provision-tenant/internal/provision"
)

func TestLedger(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) (a, b ledgertest.Ledger) {
		path := filepath.Join(t.TempDir(), "a ?#% name", "test.db")
		return open(t, path), open(t, path)
	})
}

func open(t *testing.T, path string) *sqliteledger.Ledger {
	t.Helper()
	l, err := sqliteledger.Open(t.Context(), path)
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

// Writes that are made together are each answered for, and the end of one who writes for
// others is not theirs.
func TestTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	a, b := open(t, path), open(t, path)
	var wg sync.WaitGroup
	for i := range 300 {
		l := a
		if i%3 == 0 {
			l = b
		}
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			gone := i%10 == 1
			if gone {
				time.AfterFunc(time.Duration(i)*50*time.Microsecond, cancel)
			}
			ok, err := l.Save(ctx, dispatch.Record{JobID: fmt.Sprint(i), Hash: fmt.Sprint(i), State: dispatch.Sending})
			if !gone && (!ok || err != nil) || gone && ok != (err == nil) {
				t.Errorf("Save %d: %t, %v", i, ok, err)
			}
			r, err := a.Load(t.Context(), fmt.Sprint(i))
			if ok && (err != nil || r.Hash != fmt.Sprint(i) || r.Version != 1) {
				t.Errorf("Load %d: %+v, %v", i, r, err)
			}
			if again, err := b.Save(t.Context(), dispatch.Record{JobID: fmt.Sprint(i)}); ok && again || err != nil {
				t.Errorf("Save %d again: %t, %v", i, again, err)
			}
		})
	}
	wg.Wait()
}

// What is no file is left as it is.
func TestNoFile(t *testing.T) {
	before, err := os.Stat(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sqliteledger.Open(t.Context(), os.DevNull); provision.ClassOf(err) != provision.Invalid {
		t.Errorf("Open: %v", err)
	}
	if after, err := os.Stat(os.DevNull); err != nil || after.Mode() != before.Mode() {
		t.Errorf("its mode was %v and is %v: %v", before.Mode(), after.Mode(), err)
	}
}

// The file and those beside it are their owner's alone.
func TestPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "test.db")
	l := open(t, path)
	if ok, err := l.Save(t.Context(), dispatch.Record{JobID: "job"}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	for name, want := range map[string]os.FileMode{"": 0o600, "-wal": 0o600, "-shm": 0o600} {
		info, err := os.Stat(path + name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v", name, info, err)
		}
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info, err)
	}
}

// Dispatchers that start at once with no file yet do not disturb each other.
func TestOpenAtOnce(t *testing.T) {
	for range 10 {
		path := filepath.Join(t.TempDir(), "test.db")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				l, err := sqliteledger.Open(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := l.Save(t.Context(), dispatch.Record{JobID: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// So do processes: the test binary is each of them. They save, and take slots.
func TestProcesses(t *testing.T) {
	if path := os.Getenv("LEDGER_TO_SHARE"); path != "" {
		for range 5 { // each opens and closes it, which turns it into WAL mode and back
			l, err := sqliteledger.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			for ok := false; !ok; {
				tally, err := l.LoadTally(t.Context())
				if err == nil {
					tally.Writes = append(tally.Writes, tally.Now)
					ok, err = l.SaveTally(t.Context(), tally)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	path := filepath.Join(t.TempDir(), "test.db")
	const n = 8
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestProcesses$")
			cmd.Env = append(os.Environ(), "LEDGER_TO_SHARE="+path)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	if tally, err := open(t, path).LoadTally(t.Context()); err != nil || len(tally.Writes) != 5*n || tally.Version != 5*n {
		t.Errorf("%d slots in version %d, %v", len(tally.Writes), tally.Version, err)
	}
}

func TestNoDatabase(t *testing.T) {
	dir := t.TempDir()
	if _, err := sqliteledger.Open(t.Context(), dir); provision.ClassOf(err) != provision.Invalid {
		t.Errorf("a folder: %v", err)
	}
	path := filepath.Join(dir, "text")
	if err := os.WriteFile(path, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqliteledger.Open(t.Context(), path); provision.ClassOf(err) != provision.Invalid {
		t.Errorf("another file: %v", err)
	}
}

// What Save has answered true to survives kill -9. The test binary is the process that
// is killed: it saves versions of one job and prints each when it is saved.
func TestKill(t *testing.T) {
	const job = "job"
	if path := os.Getenv("LEDGER_TO_WRITE"); path != "" {
		l := open(t, path)
		for v := int64(0); ; v++ {
			r, err := l.Load(t.Context(), job)
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := l.Save(t.Context(), dispatch.Record{JobID: job, Version: r.Version}); err != nil || !ok {
				t.Fatal(ok, err)
			}
			fmt.Println("saved", r.Version+1)
		}
	}
	path := filepath.Join(t.TempDir(), "test.db")
	for life := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "LEDGER_TO_WRITE="+path)
		out := &told{enough: 5 + 7*life, reached: make(chan struct{})}
		cmd.Stdout = out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-out.reached:
		case <-time.After(20 * time.Second):
			t.Error("nothing is saved")
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		r, err := open(t, path).Load(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		if last := out.last(); r.Version < last || r.Version > last+1 {
			t.Errorf("version %d was saved, and %d is there", last, r.Version)
		}
	}
}

// told keeps what the process prints.
type told struct {
	text    []byte
	enough  int // lines
	reached chan struct{}
}

func (w *told) Write(p []byte) (int, error) {
	had := bytes.Count(w.text, []byte("\n"))
	w.text = append(w.text, p...)
	if has := bytes.Count(w.text, []byte("\n")); had < w.enough && has >= w.enough {
		close(w.reached)
	}
	return len(p), nil
}

// last returns the version that was printed last, in a whole line.
func (w *told) last() (version int64) {
	for line := range bytes.Lines(w.text) {
		if bytes.HasSuffix(line, []byte("\n")) {
			_, _ = fmt.Sscanf(string(line), "saved %d", &version) // other lines leave it
		}
	}
	return version
}
