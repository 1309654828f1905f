package github_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	sandbox "github.com/pregoi/provision-tenant/internal/sandbox/github"
)

// serve returns a workflow whose GitHub answers as f does.
func serve(t *testing.T, f http.HandlerFunc) github.Workflow {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return github.Workflow{BaseURL: s.URL, Repo: "o/r", File: "w.yml", Ref: "main", Token: "t0k3n"}
}

func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("X-GitHub-Request-Id", "AB:12")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func said(text string) string {
	b, err := json.Marshal(map[string]string{"message": text})
	if err != nil {
		panic("unreachable: " + err.Error())
	}
	return string(b)
}

// The one request that is sent.
func TestStart(t *testing.T) {
	var got *http.Request
	var body string
	w := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		got, body = r, string(data)
		_, _ = io.WriteString(rw, `{"workflow_run_id":16000000001,"run_url":"https://api/runs/1","html_url":"https://html/runs/1"}`)
	})
	run, err := w.Start(t.Context(), map[string]any{"flag": true, "text": "<a>"})
	if err != nil {
		t.Fatal(err)
	}
	if want := (github.Run{ID: 16000000001, URL: "https://api/runs/1", HTMLURL: "https://html/runs/1"}); run != want {
		t.Errorf("run = %+v, want %+v", run, want)
	}
	if got.Method != "POST" || got.URL.Path != "/repos/o/r/actions/workflows/w.yml/dispatches" {
		t.Errorf("%s %s", got.Method, got.URL)
	}
	for name, want := range map[string]string{"Authorization": "Bearer t0k3n", "X-Github-Api-Version": "2022-11-28", "Content-Type": "application/json"} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("%s = %q, want %q", name, v, want)
		}
	}
	if want := `{"ref":"main","inputs":{"flag":true,"text":"<a>"},"return_run_details":true}` + "\n"; body != want {
		t.Errorf("body = %s, want %s", body, want)
	}
}

// Every answer that a dispatch may get, and what follows from it.
func TestStartRefused(t *testing.T) {
	reset := time.Now().Add(100 * time.Second).Unix()
	for _, test := range []struct {
		name      string
		f         http.HandlerFunc
		class     provision.Class
		ambiguous bool
		text      string // of the error, after the operation
		next      string // part of the advice
	}{
		{"token", answer(401, said("Bad credentials")), provision.Denied, false, "401 Bad credentials (request AB:12)", "GITHUB_TOKEN"},
		{"permission", answer(403, said("Resource not accessible by integration")), provision.Denied, false, "403 Resource not accessible by integration (request AB:12)", "actions: write"},
		{"missing", answer(404, said("Not Found")), provision.NotFound, false, "404 Not Found (request AB:12)", "GitHub answers 404 to both"},
		{"inputs", answer(422, said(`Unexpected inputs provided: ["x"]`)), provision.Invalid, false, `422 Unexpected inputs provided: ["x"] (request AB:12)`, "declare these inputs in the workflow file at main"},
		{"inputs, with details", answer(422, `{"message":"Validation Failed","errors":["a","b"]}`), provision.Invalid, false, `422 Validation Failed: a: b (request AB:12)`, ""},
		{"lines", answer(422, said("Invalid request.\n\n\x1b[31m\"ref\" wasn't supplied.")), provision.Invalid, false, `422 Invalid request. [31m"ref" wasn't supplied. (request AB:12)`, ""},
		{"primary limit", answer(403, said("API rate limit exceeded"), "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", itoa(reset)), provision.Busy, false, "403 API rate limit exceeded (request AB:12)", "at the earliest, in 1"},
		{"primary limit, 429", answer(429, said("API rate limit exceeded"), "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", itoa(reset)), provision.Busy, false, "429 API rate limit exceeded (request AB:12)", "at the earliest, in 1"},
		{"secondary limit", answer(403, said("You have exceeded a secondary rate limit."), "Retry-After", "17"), provision.Busy, false, "403 You have exceeded a secondary rate limit. (request AB:12)", "in 17 seconds"},
		{"secondary limit, blank", answer(403, said("Slow down"), "Retry-After", ""), provision.Busy, false, "403 Slow down (request AB:12)", "in 60 seconds"},
		{"secondary limit, by its words", answer(403, said("You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")), provision.Busy, false, "403 You have exceeded a secondary rate limit. Please wait a few minutes before you try again. (request AB:12)", "in 60 seconds"},
		{"secondary limit, by its page", answer(403, `{"message":"no","documentation_url":"https://docs.github.com/rest/x#about-secondary-rate-limits"}`), provision.Busy, false, "403 no (request AB:12)", "in 60 seconds"},
		{"5xx", answer(502, "<html>Bad Gateway"), provision.Busy, true, "502 (request AB:12)", "before this is sent again"},
		{"accepted, but how", answer(202, "{}"), provision.Busy, true, "202 without the answer that belongs to it (request AB:12)", ""},
		{"no id", answer(200, "{}"), provision.Busy, true, "200 without the answer that belongs to it (request AB:12)", ""},
		{"no body", answer(200, ""), provision.Busy, true, "200 without the answer that belongs to it (request AB:12)", ""},
		{"negative id", answer(200, `{"workflow_run_id":-1}`), provision.Busy, true, "200 without the answer that belongs to it (request AB:12)", ""},
		{"html", answer(200, "<html>"), provision.Busy, true, "200 without the answer that belongs to it (request AB:12)", ""},
		{"truncated", answer(200, `{"workflow_run_id":1`, "Content-Length", "100"), provision.Busy, true, "200 without the answer that belongs to it (request AB:12)", ""},
		{"endless", answer(200, `{"x":"`+strings.Repeat("x", 3<<20)+`","workflow_run_id":1}`), provision.Busy, true, "200 without the answer that belongs to it (request AB:12)", ""},
		{"reset", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, provision.Busy, true, "EOF", "look for one"},
		{"moved to another host", answer(307, "", "Location", "http://192.0.2.1/repos/o/r"), provision.NotFound, false, "307 (request AB:12)", "has moved"},
		{"moved with another method", answer(301, "", "Location", "/elsewhere"), provision.NotFound, false, "301 (request AB:12)", "has moved"},
		{"teapot", answer(418, said("short and stout")), provision.Internal, false, "418 short and stout (request AB:12)", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, test.f)
			_, err := w.Start(t.Context(), nil)
			if err == nil {
				t.Fatal("Start succeeded")
			}
			if want := "start o/r w.yml at main: " + test.text; err.Error() != want {
				t.Errorf("err = %s, want %s", err, want)
			}
			if got := provision.ClassOf(err); got != test.class {
				t.Errorf("class = %s, want %s", got, test.class)
			}
			if next := provision.NextAction(err); !strings.Contains(next, test.next) {
				t.Errorf("advice = %q, want %q in it", next, test.next)
			}
			if got := errors.As(err, new(*github.AmbiguousError)); got != test.ambiguous {
				t.Errorf("ambiguous = %t, want %t", got, test.ambiguous)
			}
		})
	}
}

func itoa(n int64) string { b, _ := json.Marshal(n); return string(b) }

// Only what may have reached GitHub is ambiguous.
func TestStartWithoutAnswer(t *testing.T) {
	t.Parallel()
	hang := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	w := serve(t, hang)
	w.Timeout = time.Second // enough to connect, whatever else the machine does
	_, err := w.Start(t.Context(), nil)
	if provision.ClassOf(err) != provision.Busy || !errors.As(err, new(*github.AmbiguousError)) {
		t.Errorf("timeout: %v, %s", err, provision.ClassOf(err))
	}

	ctx, cancel := context.WithCancel(t.Context())
	w = serve(t, func(rw http.ResponseWriter, r *http.Request) { cancel(); hang(rw, r) })
	_, err = w.Start(ctx, nil)
	if provision.ClassOf(err) != provision.Cancelled || !errors.As(err, new(*github.AmbiguousError)) {
		t.Errorf("cancelled: %v, %s", err, provision.ClassOf(err))
	}

	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	w.BaseURL = s.URL
	_, err = w.Start(t.Context(), nil)
	if provision.ClassOf(err) != provision.Busy || errors.As(err, new(*github.AmbiguousError)) {
		t.Errorf("nobody listens: %v, %s", err, provision.ClassOf(err))
	}
}

// An old GitHub Enterprise Server refuses the question for the run's id, and gets the
// dispatch once more without it.
func TestStartOldServer(t *testing.T) {
	t.Parallel()
	var bodies []string
	w := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		bodies = append(bodies, strings.TrimSpace(string(data)))
		if strings.Contains(string(data), "return_run_details") {
			answer(400, said("Invalid request.\n\n\"return_run_details\" is not a permitted key."))(rw, r)
			return
		}
		rw.WriteHeader(http.StatusNoContent)
	})
	run, err := w.Start(t.Context(), map[string]any{"a": "b"})
	if err != nil || run != (github.Run{}) {
		t.Errorf("Start = %+v, %v", run, err)
	}
	want := []string{`{"ref":"main","inputs":{"a":"b"},"return_run_details":true}`, `{"ref":"main","inputs":{"a":"b"}}`}
	if diff := cmp.Diff(want, bodies); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

// A repository that was renamed answers 307: the same request goes on, on the same host
// with the token, and to no other host at all.
func TestRedirect(t *testing.T) {
	t.Parallel()
	var other int
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { other++ }))
	defer elsewhere.Close()
	w := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/repositories/1/"):
			data, _ := io.ReadAll(r.Body)
			if r.Method != "POST" || r.Header.Get("Authorization") != "Bearer t0k3n" || !strings.Contains(string(data), `"ref":"main"`) {
				t.Errorf("%s with %q and %q", r.Method, r.Header.Get("Authorization"), data)
			}
			_, _ = io.WriteString(rw, `{"workflow_run_id":7}`)
		case strings.HasPrefix(r.URL.Path, "/repos/o/old/"):
			http.Redirect(rw, r, "/repositories/1/actions", http.StatusMovedPermanently) // net/http would go on with GET
		case strings.HasPrefix(r.URL.Path, "/repos/o/r/"):
			http.Redirect(rw, r, "/repositories/1/actions", http.StatusTemporaryRedirect)
		default:
			http.Redirect(rw, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}
	})
	if run, err := w.Start(t.Context(), nil); err != nil || run.ID != 7 {
		t.Errorf("Start = %+v, %v", run, err)
	}
	for _, w.Repo = range []string{"o/gone", "o/old"} {
		if _, err := w.Start(t.Context(), nil); provision.ClassOf(err) != provision.NotFound {
			t.Errorf("Start in %s: %v", w.Repo, err)
		}
	}
	if other > 0 {
		t.Error("the other host was asked")
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	var asked string
	w := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		asked = r.URL.RequestURI()
		answer(200, `{"type":"file","encoding":"base64","content":"b246IHdv\ncmtmbG93\n"}`)(rw, r)
	})
	w.Ref = "a&b"
	data, err := w.Read(t.Context())
	if err != nil || string(data) != "on: workflow" {
		t.Errorf("Read = %q, %v", data, err)
	}
	if want := "/repos/o/r/contents/.github/workflows/w.yml?ref=a%26b"; asked != want {
		t.Errorf("asked for %s, want %s", asked, want)
	}
	for _, test := range []struct {
		f     http.HandlerFunc
		class provision.Class
	}{
		{answer(404, said("Not Found")), provision.NotFound},
		{answer(502, ""), provision.Busy},
		{answer(200, "<html>"), provision.Busy},
		{answer(200, `{"type":"symlink"}`), provision.Invalid},
	} {
		_, err := serve(t, test.f).Read(t.Context())
		if provision.ClassOf(err) != test.class || errors.As(err, new(*github.AmbiguousError)) {
			t.Errorf("Read: %v of class %s, want %s", err, provision.ClassOf(err), test.class)
		}
	}
}

func TestParseURL(t *testing.T) {
	for in, want := range map[string]github.Workflow{
		"https://api.github.com/repos/o/r/actions/workflows/w.yml/dispatches": {BaseURL: "https://api.github.com", Repo: "o/r", File: "w.yml"},
		"https://ghe/api/v3/repos/o/r/actions/workflows/7/dispatches":         {BaseURL: "https://ghe/api/v3", Repo: "o/r", File: "7"},
	} {
		if got, err := github.ParseURL(in); err != nil || got != want {
			t.Errorf("ParseURL(%q) = %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "x", "https://api.github.com/repos/o/r", "ftp://h/repos/o/r/actions/workflows/w/dispatches",
		"https://s3cret@h/repos/o/r/actions/workflows/w/dispatches", "https://h/repos/o/r/actions/workflows//dispatches",
		"https://h/repos/o/r/actions/workflows/w/dispatches?token=s3cret"} {
		_, err := github.ParseURL(in)
		if provision.ClassOf(err) != provision.Invalid || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("ParseURL(%q): %v", in, err)
		}
	}
	for _, w := range []github.Workflow{{Repo: "o"}, {Repo: "o/r/x"}, {Repo: "/r"}, {Repo: "o/r", BaseURL: "nowhere"}} {
		if _, err := w.Start(t.Context(), nil); provision.ClassOf(err) != provision.Invalid {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

// What is sent, and what the stand-in answers, is as GitHub describes it.
func TestContract(t *testing.T) {
	s := sandbox.New(sandbox.Options{Repo: "o/r", Token: "t0k3n", Files: os.DirFS("../.."), Action: os.Args[0],
		Env: []string{"GO_TEST_NOTHING=1", "GORACE=atexit_sleep_ms=0"}, Dir: t.TempDir()})
	h := httptest.NewServer(contract.Handler(t, "github.json", "", s.Handler()))
	t.Cleanup(func() {
		h.Close()
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w := github.Workflow{BaseURL: h.URL, Repo: "o/r", File: "provision-tenant.yml", Token: "t0k3n"}
	want, err := os.ReadFile("../../.github/workflows/provision-tenant.yml")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.Read(t.Context()); err != nil || string(got) != string(want) {
		t.Errorf("Read: %v, %d bytes, want %d", err, len(got), len(want))
	}
	run, err := w.Start(t.Context(), map[string]any{"job_id": "j", "tenant_id": "t", "region": "sg", "create_new_server": true,
		"subdomain_slug": "s", "canonical_hostname": "s.pregoi.com"})
	if err != nil || run.ID != s.Runs()[0].ID || run.URL != s.Runs()[0].URL {
		t.Errorf("Start = %+v, %v", run, err)
	}
}

// The test binary is also the action that the stand-in starts, which does nothing.
func TestMain(m *testing.M) {
	if os.Getenv("GO_TEST_NOTHING") != "" {
		os.Exit(0)
	}
	os.Exit(m.Run())
}
