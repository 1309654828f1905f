package github_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
)

// GitHub's own words for a dispatch that it refuses.
func TestDispatchRefused(t *testing.T) {
	t.Parallel()
	many := "on:\n  workflow_dispatch:\n    inputs:\n"
	for i := range 26 {
		many += fmt.Sprintf("      i%d: {description: D}\n", i)
	}
	jobs := "\njobs: {a: {runs-on: x, steps: [{run: 'true'}]}}\n"
	w := start(t, github.Options{Refs: []string{"main", "v1"}, Files: fstest.MapFS{
		".github/workflows/test.yml":  {Data: []byte(workflowYML)},
		".github/workflows/push.yml":  {Data: []byte("on: push" + jobs)},
		".github/workflows/many.yml":  {Data: []byte(many + jobs)},
		".github/workflows/queue.yml": {Data: []byte("on: workflow_dispatch\nconcurrency: {group: g, queue: max, cancel-in-progress: true}" + jobs)},
		".github/workflows/must.yml":  {Data: []byte("on: {workflow_dispatch: {inputs: {must: {description: D, required: true}, flag: {description: D, required: true, type: boolean}}}}" + jobs)},
	}})
	for _, test := range []struct {
		file, body string
		status     int
		message    string
	}{
		{"test.yml", `{"ref":"main","inputs":{"y":"1","x":"1"}}`, 422, `Unexpected inputs provided: ["x","y"]`},
		{"test.yml", `{"ref":"main","inputs":{"pick":"c"}}`, 422, `Provided value 'c' for input 'pick' not in the list of allowed values`},
		{"test.yml", `{"ref":"main","inputs":{"flag":"maybe"}}`, 422, `Provided value 'maybe' for input 'flag' not in the list of allowed values`},
		{"test.yml", `{"ref":"main","inputs":{"flag":""}}`, 422, `Provided value '' for input 'flag' not in the list of allowed values`},
		{"test.yml", `{"ref":"main","inputs":{"text":["a"]}}`, 422, `Invalid value for input 'text'`},
		{"test.yml", `{"ref":"main","inputs":{"text":"` + strings.Repeat("é", 65535-len(`{"text":""}`)+1) + `"}}`, 422, `inputs are too large.`},
		{"test.yml", `{"ref":"gone"}`, 422, `No ref found for: gone`},
		{"test.yml", `{"ref":""}`, 422, `No ref found for: `},
		{"test.yml", `{}`, 422, "Invalid request.\n\n\"ref\" wasn't supplied."},
		{"test.yml", `{"ref":`, 400, `Problems parsing JSON`},
		{"test.yml", `{"ref":"main","other":1}`, 400, "Invalid request.\n\n\"other\" is not a permitted key."},
		{"push.yml", `{"ref":"main"}`, 422, `Workflow does not have 'workflow_dispatch' trigger`},
		{"gone.yml", `{"ref":"main"}`, 404, `Not Found`},
		{"many.yml", `{"ref":"main"}`, 422, "Invalid Argument - failed to parse workflow: you may only define up to 25 `inputs` for a `workflow_dispatch` event"},
		{"queue.yml", `{"ref":"main"}`, 422, "Invalid Argument - failed to parse workflow: concurrency cannot have queue: max and cancel-in-progress: true"},
		{"must.yml", `{"ref":"main"}`, 422, `Required input 'must' not provided`},
		{"must.yml", `{"ref":"main","inputs":{"must":""}}`, 422, `Required input 'must' not provided`},
	} {
		status, body, _ := w.do("POST", "/repos/pregoi/prego/actions/workflows/"+test.file+"/dispatches", test.body)
		if status != test.status || body["message"] != test.message {
			t.Errorf("%s %.80s: %d %q\nwant %d %q", test.file, test.body, status, body["message"], test.status, test.message)
		}
	}
	if runs := w.Runs(); len(runs) > 0 {
		t.Errorf("%d runs were started", len(runs))
	}
	if status, _, _ := w.do("POST", "/repos/else/where/actions/workflows/test.yml/dispatches", `{"ref":"main"}`); status != 404 {
		t.Errorf("another repository: %d", status)
	}
}

func TestDispatchAnswers(t *testing.T) {
	t.Parallel()
	const asking, plain = `{"ref":"main","return_run_details":true}`, `{"ref":"refs/heads/main","inputs":{"flag":"true","number":"3"}}`
	for _, test := range []struct {
		details github.RunDetails
		body    string
		status  int
	}{
		{github.DetailsGiven, asking, 200}, {github.DetailsGiven, plain, 204},
		{github.DetailsIgnored, asking, 204}, {github.DetailsIgnored, plain, 204},
		{github.DetailsRefused, asking, 400}, {github.DetailsRefused, plain, 204},
	} {
		w := start(t, github.Options{RunDetails: test.details, Env: []string{"ACT=none"}})
		status, body, header := w.do("POST", dispatches, test.body)
		if status != test.status {
			t.Errorf("%v %s: %d %v", test.details, test.body, status, body)
		}
		if status == 400 && body["message"] != "Invalid request.\n\n\"return_run_details\" is not a permitted key." {
			t.Errorf("message = %q", body["message"])
		}
		if header.Get("X-GitHub-Request-Id") == "" || header.Get("X-RateLimit-Remaining") != "4999" {
			t.Errorf("header = %v", header)
		}
		if len(w.Runs()) != btoi(test.status != 400) {
			t.Errorf("%d runs", len(w.Runs()))
		}
		if test.body == plain && w.Runs()[0].Inputs["flag"] != true && w.Runs()[0].Inputs["number"] != 3.0 {
			t.Errorf("inputs = %v", w.Runs()[0].Inputs)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestToken(t *testing.T) {
	t.Parallel()
	w := start(t, github.Options{})
	for _, header := range []string{"", "Bearer wrong", "Basic " + token, token} {
		req := httptest.NewRequest("GET", "/repos/pregoi/prego", nil)
		req.Header.Set("Authorization", header)
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, req)
		if rec.Code != 401 || !strings.Contains(rec.Body.String(), `"message":"Bad credentials"`) {
			t.Errorf("%q: %d %s", header, rec.Code, rec.Body)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	w := start(t, github.Options{Env: []string{"ACT=none"}, Limits: github.Limits{PerHour: 4, WritesPerMinute: 2}})
	for i, want := range []struct {
		status                int
		remaining, retryAfter string
	}{{204, "3", ""}, {204, "2", ""}, {403, "1", "60"}, {403, "0", "60"}, {403, "0", ""}} {
		status, body, header := w.do("POST", dispatches, `{"ref":"main"}`)
		if status != want.status || header.Get("X-RateLimit-Remaining") != want.remaining || header.Get("Retry-After") != want.retryAfter {
			t.Errorf("request %d: %d %v, remaining %s, retry after %q", i+1, status, body, header.Get("X-RateLimit-Remaining"), header.Get("Retry-After"))
		}
	}
	if len(w.Runs()) != 2 {
		t.Errorf("%d runs", len(w.Runs()))
	}
}

// What GitHub does with several runs of one group.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	const frame = "run-name: ${{ inputs.text }}\non: {workflow_dispatch: {inputs: {text: {description: D}}}}\njobs: {a: {runs-on: x, steps: [{uses: ./}]}}\n"
	for _, test := range []struct {
		concurrency string
		want        []string // conclusions of four runs, when all but the running ones have been let go
		statuses    []string // right after the four dispatches
	}{
		{"concurrency: {group: g, queue: max}", []string{"success", "success", "success", "success"}, []string{"in_progress", "pending", "pending", "pending"}},
		{"concurrency: G", []string{"success", "cancelled", "cancelled", "success"}, []string{"in_progress", "completed", "completed", "pending"}},
		{"concurrency: {group: g, cancel-in-progress: true}", []string{"cancelled", "cancelled", "cancelled", "success"}, nil},
		{"concurrency: 'g-${{ inputs.text }}'", []string{"success", "success", "success", "success"}, []string{"in_progress", "in_progress", "in_progress", "in_progress"}},
	} {
		t.Run(test.concurrency, func(t *testing.T) {
			t.Parallel()
			gate := t.TempDir() + "/gate"
			o := github.Options{Env: []string{"ACT=gate", "GATE=" + gate}, Files: fstest.MapFS{
				"action.yml":                 {Data: []byte(actionYML)},
				".github/workflows/test.yml": {Data: []byte(frame + test.concurrency)},
			}}
			w := start(t, o)
			var ids []int64
			for i := range 4 {
				ids = append(ids, w.dispatch(fmt.Sprintf(`{"text":"%d"}`, i)))
				if i == 0 || test.statuses != nil && test.statuses[i] == "in_progress" {
					w.until(ids[i], "waiting")
				}
			}
			var got []string
			for _, r := range w.Runs() {
				got = append(got, r.Status)
			}
			if diff := cmp.Diff(test.statuses, got); diff != "" && test.statuses != nil {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
			if strings.Contains(test.concurrency, "cancel") {
				for _, id := range ids[:3] { // none of them gets through the gate before it is cancelled
					w.wait(id)
				}
			}
			if err := os.WriteFile(gate, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			got = nil
			var last time.Time
			for _, id := range ids {
				r := w.wait(id)
				got = append(got, r.Conclusion)
				if strings.Contains(test.concurrency, "max") {
					if r.StartedAt.Before(last) {
						t.Errorf("run %s began before the one ahead of it had ended", r.Name)
					}
					last = r.EndedAt
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("conclusions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestListRuns(t *testing.T) {
	t.Parallel()
	w := start(t, github.Options{Env: []string{"ACT=none"}, Refs: []string{"main", "v1"}})
	var last github.Run
	for range 3 {
		last = w.run(`{}`)
	}
	today := last.CreatedAt.Format(time.DateOnly)
	for _, test := range []struct {
		query       string
		total, here int
	}{
		{"", 3, 3}, {"?per_page=2", 3, 2}, {"?per_page=2&page=2", 3, 1}, {"?page=9", 3, 0},
		{"?event=workflow_dispatch", 3, 3}, {"?event=push", 0, 0}, {"?status=success", 3, 3}, {"?status=completed", 3, 3},
		{"?status=queued", 0, 0}, {"?branch=v1", 0, 0}, {"?branch=main", 3, 3},
		{"?created=" + today, 3, 3}, {"?created=%3C" + today, 0, 0}, {"?created=%3E=" + last.CreatedAt.Add(-time.Hour).Format(time.RFC3339), 3, 3},
		{"?created=%3E" + last.CreatedAt.Add(time.Hour).Format(time.RFC3339), 0, 0}, {"?created=2020-01-01..2020-01-02", 0, 0},
	} {
		for _, path := range []string{"/repos/pregoi/prego/actions/runs", "/repos/pregoi/prego/actions/workflows/test.yml/runs"} {
			status, body, header := w.do("GET", path+test.query, "")
			list, _ := body["workflow_runs"].([]any)
			if status != 200 || body["total_count"] != float64(test.total) || len(list) != test.here {
				t.Errorf("%s%s: %d, %d of %v; want %d of %d", path, test.query, status, len(list), body["total_count"], test.here, test.total)
			}
			if next := strings.Contains(header.Get("Link"), `rel="next"`); next != (test.query == "?per_page=2") {
				t.Errorf("%s%s: Link = %q", path, test.query, header.Get("Link"))
			}
		}
	}
	status, body, _ := w.do("GET", "/repos/pregoi/prego/actions/workflows/other.yml/runs", "")
	if status != 200 || body["total_count"] != 0.0 {
		t.Errorf("runs of another workflow: %d %v", status, body["total_count"])
	}
}

// Every answer has the shape that GitHub's own description gives it.
func TestContract(t *testing.T) {
	w := start(t, github.Options{Env: []string{"ACT=none"}})
	for file, version := range map[string]string{"github.json": "2022-11-28", "github-2026-03-10.json": "2026-03-10"} {
		h := httptest.NewServer(contract.Handler(t, file, "", w.Handler()))
		client := func(method, path, body string, want int) {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), method, h.URL+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set("X-GitHub-Api-Version", version)
			if body != "" {
				req.Header.Set("Content-Type", "application/json")
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s %s: %d, want %d", method, path, resp.StatusCode, want)
			}
		}
		const repo = "/repos/pregoi/prego"
		client("GET", repo, "", 200)
		client("GET", repo+"/contents/action.yml?ref=main", "", 200)
		client("GET", repo+"/contents/.github/workflows/test.yml", "", 200)
		client("GET", repo+"/contents/gone", "", 404)
		client("GET", repo+"/actions/workflows", "", 200)
		client("GET", repo+"/actions/workflows/test.yml", "", 200)
		client("POST", repo+"/actions/workflows/test.yml/dispatches", `{"ref":"main","inputs":{"flag":true}}`, map[string]int{"2022-11-28": 204, "2026-03-10": 200}[version])
		if version == "2022-11-28" {
			client("POST", repo+"/actions/workflows/test.yml/dispatches", `{"ref":"main","return_run_details":true}`, 200)
		}
		runs := w.Runs()
		id := runs[len(runs)-1].ID
		w.wait(id)
		run := fmt.Sprintf("%s/actions/runs/%d", repo, id)
		client("GET", repo+"/actions/runs?event=workflow_dispatch&status=completed&per_page=5&page=1", "", 200)
		client("GET", repo+"/actions/workflows/test.yml/runs?branch=main", "", 200)
		client("GET", run, "", 200)
		client("GET", run+"/jobs", "", 200)
		client("POST", run+"/cancel", "", 409)
		client("POST", run+"/rerun", "", 201)
		client("GET", "/rate_limit", "", 200)
		w.wait(id)
		h.Close()
	}
}

// After Close nothing is started, and what was under way has ended.
func TestClose(t *testing.T) {
	t.Parallel()
	w := start(t, act("wait"))
	id := w.dispatch(`{}`)
	w.until(id, "waiting")
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := w.Run(id); err != nil || r.Conclusion != "cancelled" {
		t.Errorf("run is %s, %v", r.Conclusion, err)
	}
	if status, _, _ := w.do("POST", dispatches, `{"ref":"main"}`); status != 503 {
		t.Errorf("dispatch after Close: %d", status)
	}
	if _, err := w.Run(1); provision.ClassOf(err) != provision.NotFound {
		t.Errorf("Run(1): %v", err)
	}
}
