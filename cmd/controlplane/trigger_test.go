package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A job that is triggered again, at once, after a crash that forgot the answer, or by another
// process, has one run; another attempt has another.
func TestOneRunPerAttempt(t *testing.T) {
	t.Parallel()
	var dispatched atomic.Int64
	mux := http.NewServeMux()
	file := base64.StdEncoding.EncodeToString([]byte("run-name: ${{ inputs.job_id }}\non: {workflow_dispatch: {inputs: {job_id: {type: string}, tenant_id: {type: string}," +
		" region: {type: string}, create_new_server: {type: boolean}, target_server_id: {type: string}, subdomain_slug: {type: string}," +
		" canonical_hostname: {type: string}, dedicated: {type: string}, trace_id: {type: string}}}}\njobs: {}\n"))
	mux.HandleFunc("GET /repos/o/r/contents/.github/workflows/w.yml", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"type":"file","encoding":"base64","content":%q}`, file)
	})
	mux.HandleFunc("POST /repos/o/r/actions/workflows/w.yml/dispatches", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, `{"workflow_run_id":%d,"run_url":"https://example.com/api","html_url":"https://example.com/run"}`, dispatched.Add(1))
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	w := github.Workflow{BaseURL: s.URL, Repo: "o/r", File: "w.yml", Token: "t"}
	d := database{path: filepath.Join(t.TempDir(), "cp.db")}
	job := provision.Job{ID: "job_acme", TenantID: "acme", Region: "sg", CreateNewServer: true, SubdomainSlug: "acme", CanonicalHostname: "acme.example.com"}
	for attempt := 1; attempt <= 3; attempt++ {
		var all sync.WaitGroup
		for range 2 { // processes
			ledger, err := d.ledger(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			trigger, err := inProcessTrigger(w, ledger, paceFlags{lease: time.Minute, window: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				for range 2 { // tries
					id, url, err := trigger(t.Context(), job, attempt)
					if want := fmt.Sprint(attempt); id != want || url != "https://example.com/run" || err != nil {
						t.Errorf("attempt %d: run %q %q, %v, want %s", attempt, id, url, err, want)
					}
				}
				if err := ledger.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if n := dispatched.Load(); n != 3 {
		t.Errorf("%d runs of 3 attempts", n)
	}
}
