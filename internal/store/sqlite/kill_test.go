package sqlite_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// TestKill kills a process that enqueues and works as fast as it can, at any moment, and
// looks at what it leaves. STORE_KILLS says how often. The test binary is the process.
func TestKill(t *testing.T) {
	if path := os.Getenv("STORE_TO_KILL"); path != "" {
		live(t, path)
		return
	}
	kills := 40
	if testing.Short() {
		kills = 5
	}
	if v := os.Getenv("STORE_KILLS"); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	total := 0
	for n := 0; n < kills; {
		// A database grows with its jobs, and so does the time to check it.
		path, acked := filepath.Join(t.TempDir(), "test.db"), map[string]bool{}
		for lives := min(20, kills-n); lives > 0; lives-- {
			liveAndDie(t, path, time.Duration(r.IntN(200))*time.Millisecond, acked)
			n++
			inspect(t, path, acked)
			if t.Failed() {
				t.Fatalf("after %d kills", n)
			}
		}
		finish(t, path, acked)
		total += len(acked)
	}
	t.Logf("%d kills, %d jobs acknowledged", kills, total)
}

// live enqueues, works and says so until it is killed.
func live(t *testing.T, path string) {
	db := open(t, path)
	go func() {
		if err := db.Work(t.Context(), func(ctx context.Context, j store.Job, _ int) error {
			if j.ID[len(j.ID)-1]%2 == 0 {
				<-ctx.Done() // it is killed in the middle
			}
			return db.Dispatched(ctx, j.ID, store.Run{ID: "1"}, time.Now())
		}); err != nil {
			t.Error(err)
		}
	}()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				o := order(fmt.Sprintf("t%d-%x", os.Getpid(), rand.Uint64()))
				o.Key = store.Key{Scope: "s", Value: o.TenantID, Hash: "h"}
				if _, err := db.Enqueue(t.Context(), o); err != nil {
					t.Error(err)
					return
				}
				fmt.Printf("acked %s\n", o.JobID)
			}
		})
	}
	wg.Wait()
}

// liveAndDie runs a process for so long, and notes what it has acknowledged.
func liveAndDie(t *testing.T, path string, life time.Duration, acked map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), "STORE_TO_KILL="+path)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-time.After(life)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	whole := out.Bytes()[:bytes.LastIndexByte(out.Bytes(), '\n')+1]
	for s := bufio.NewScanner(bytes.NewReader(whole)); s.Scan(); {
		id, ok := strings.CutPrefix(s.Text(), "acked ")
		if !ok {
			t.Errorf("the process says %q", s.Text())
		}
		acked[id] = true
	}
}

// inspect checks the file as it was left: whole, with every job that was acknowledged, and
// with nothing that is half there.
func inspect(t *testing.T, path string, acked map[string]bool) {
	t.Helper()
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path}).String())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity_check: %s, %v", verdict, err)
	}
	have := map[string]bool{}
	rows, err := db.Query("SELECT job_id FROM provision_jobs")
	if err != nil {
		if len(acked) > 0 {
			t.Errorf("%d jobs were acknowledged, but: %v", len(acked), err)
		}
		return // it was killed before there were tables
	}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		have[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for id := range acked {
		if !have[id] {
			t.Errorf("job %s was acknowledged and is not there", id)
		}
	}
	for what, query := range map[string]string{
		"jobs without a tenant":       "SELECT count(*) FROM provision_jobs WHERE tenant_id NOT IN (SELECT tenant_id FROM tenants_master)",
		"tenants without a job":       "SELECT count(*) FROM tenants_master WHERE tenant_id NOT IN (SELECT tenant_id FROM provision_jobs)",
		"jobs without an audit entry": "SELECT count(*) FROM provision_jobs WHERE job_id NOT IN (SELECT job_id FROM audit_logs WHERE action = 'enqueue')",
		"jobs without a key":          "SELECT count(*) FROM provision_jobs WHERE job_id NOT IN (SELECT job_id FROM idempotency_keys)",
		"jobs that River forgot": `SELECT count(*) FROM provision_jobs WHERE status = 'Pending' AND job_id NOT IN
			(SELECT cast(args AS TEXT) ->> 'job_id' FROM river_job WHERE finalized_at IS NULL)`,
	} {
		var n int
		if err := db.QueryRow(query).Scan(&n); err != nil && len(have) > 0 || n > 0 {
			t.Errorf("%d %s, %v", n, what, err)
		}
	}
}

// finish opens the file again and lets the work be done.
func finish(t *testing.T, path string, acked map[string]bool) {
	t.Helper()
	db := open(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	times := map[string]int{}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := db.Work(ctx, func(try context.Context, j store.Job, _ int) error {
			mu.Lock()
			defer mu.Unlock()
			times[j.ID]++
			return db.Dispatched(try, j.ID, store.Run{ID: "1"}, time.Now())
		}); err != nil {
			t.Error(err)
		}
	})
	for pending := 1; pending > 0 && ctx.Err() == nil; {
		c, err := db.Counts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if pending = c.Jobs[provision.JobPending]; pending > 0 {
			<-time.After(20 * time.Millisecond)
		}
	}
	cancel()
	wg.Wait()
	for id, n := range times {
		if n != 1 {
			t.Errorf("job %s was handed out %d times", id, n)
		}
	}
	for id := range acked {
		if j, err := db.Job(t.Context(), id); err != nil || j.Status != provision.JobDispatched {
			t.Errorf("job %s after the work: %s, %v", id, j.Status, err)
		}
	}
}
