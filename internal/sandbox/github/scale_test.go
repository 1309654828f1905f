package github_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
)

// away is a stand-in without a runner and, until o says otherwise, without limits.
func away(o github.Options) *github.Server {
	o.Repo, o.Token = "o/r", token
	if o.Files == nil {
		o.Files = os.DirFS("../../..")
	}
	if o.Limits == (github.Limits{}) {
		o.Limits = github.Unlimited()
	}
	if o.Runner == github.RunnerActs {
		o.Runner = github.RunnerAway
	}
	return github.New(o)
}

// ask sends a request without a network, and returns the status, the body and the header.
func ask(t testing.TB, s *github.Server, method, path, body string, header ...string) (int, map[string]any, http.Header) {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, req)
	var m map[string]any
	if rec.Body.Len() > 0 {
		if err := json.Unmarshal(rec.Body.Bytes(), &m); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, rec.Body)
		}
	}
	return rec.Code, m, rec.Result().Header
}

const ours = "/repos/o/r/actions/workflows/provision-tenant.yml"

// job is the body of a dispatch of our own workflow.
func job(id string) string {
	return fmt.Sprintf(`{"ref":"main","return_run_details":true,"inputs":{"job_id":%q,"tenant_id":"acme-1","region":"sg","create_new_server":true,"subdomain_slug":"acme","canonical_hostname":"acme.pregoi.com","dedicated":"false"}}`, id)
}

// Without a runner the stand-in keeps little of each of very many runs, and lists them in
// pages, a thousand of those that are asked for by a property.
func TestVeryMany(t *testing.T) {
	s := away(github.Options{Runner: github.RunnerInstant})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 1200
	for i := range n {
		if status, body, _ := ask(t, s, "POST", ours+"/dispatches", job(fmt.Sprint("job-", i))); status != 200 {
			t.Fatalf("dispatch %d: %d %v", i, status, body)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n; each > 1500 {
		t.Errorf("a run takes %d bytes", each)
	}
	for query, want := range map[string][2]int{
		"?per_page=100": {n, 100}, "?per_page=100&page=12": {n, 100}, "?per_page=100&page=13": {n, 0},
		"?event=workflow_dispatch&per_page=100&page=10": {n, 100}, "?event=workflow_dispatch&per_page=100&page=11": {n, 0},
	} {
		_, body, header := ask(t, s, "GET", ours+"/runs"+query, "")
		if list := body["workflow_runs"].([]any); body["total_count"] != float64(want[0]) || len(list) != want[1] {
			t.Errorf("%s: %d of %v, want %d of %d", query, len(list), body["total_count"], want[1], want[0])
		}
		if more := strings.Contains(header.Get("Link"), `rel="next"`); more != (query == "?per_page=100") {
			t.Errorf("%s: Link = %q", query, header.Get("Link"))
		}
	}
	seen := 0
	s.Each(func(id int64, name string) bool {
		if want := fmt.Sprintf("provision job-%d (acme-1, sg)", seen); name != want {
			t.Errorf("run %d is %q, want %q", id, name, want)
		}
		seen++
		return true
	})
	if r := s.Runs()[7]; seen != n || r.Conclusion != "success" || r.Inputs["create_new_server"] != true || r.Inputs["job_id"] != "job-7" {
		t.Errorf("%d runs; the eighth is %+v", seen, r)
	}
}

// Runs that nobody carries out wait for their concurrency group and move when they are steered.
func TestSteer(t *testing.T) {
	t.Parallel()
	const frame = "run-name: ${{ inputs.job_id }}\non: {workflow_dispatch: {inputs: {job_id: {description: D}}}}\njobs: {a: {runs-on: x, steps: [{uses: ./}]}}\n"
	s := away(github.Options{Files: fstest.MapFS{".github/workflows/provision-tenant.yml": {Data: []byte(frame + "concurrency: g")}}})
	for _, id := range []string{"1", "2", "3"} {
		if status, body, _ := ask(t, s, "POST", ours+"/dispatches", `{"ref":"main","inputs":{"job_id":"`+id+`"}}`); status != 204 {
			t.Fatal(status, body)
		}
	}
	states := func() (got []string) {
		for _, r := range s.Runs() {
			got = append(got, r.Status+" "+r.Conclusion)
		}
		return got
	}
	if diff := cmp.Diff([]string{"queued ", "completed cancelled", "pending "}, states()); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	first, last := s.Runs()[0].ID, s.Runs()[2].ID
	jobs := func(id int64) float64 {
		_, body, _ := ask(t, s, "GET", fmt.Sprintf("/repos/o/r/actions/runs/%d/jobs", id), "")
		return body["total_count"].(float64)
	}
	for _, status := range []string{"in_progress", "waiting", "completed"} {
		if err := s.Steer(first, status, "timed_out"); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"completed timed_out", "completed cancelled", "queued "}, states()); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	if jobs(first) != 1 || jobs(first+1) != 0 {
		t.Errorf("%v jobs in the run that was carried out, %v in the one that was superseded", jobs(first), jobs(first+1))
	}
	if s.Steer(first, "queued", "") == nil || s.Steer(1, "queued", "") == nil {
		t.Error("a run that has ended, or that there is not, was steered")
	}
	if err := s.Cancel(last); err != nil || states()[2] != "completed cancelled" {
		t.Errorf("Cancel: %v; %v", err, states())
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// BenchmarkDispatch is one dispatch of our own workflow, without network, runner and limits.
func BenchmarkDispatch(b *testing.B) {
	s := away(github.Options{Runner: github.RunnerInstant})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if status, body, _ := ask(b, s, "POST", ours+"/dispatches", job(fmt.Sprint("job-", i))); status != 200 {
			b.Fatal(status, body)
		}
	}
}
