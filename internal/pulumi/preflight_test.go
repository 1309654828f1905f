package pulumi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
	"github.com/pregoi/provision-tenant/internal/stackprogram"
)

// wantRefusal checks the class of an error, and what it and its cure say.
func wantRefusal(t *testing.T, err error, class provision.Class, says, next string) {
	t.Helper()
	if provision.ClassOf(err) != class {
		t.Fatalf("%v (%s), want class %q", err, provision.ClassOf(err), class)
	}
	if err != nil && (!strings.Contains(err.Error(), says) || !strings.Contains(provision.NextAction(err), next)) {
		t.Errorf("%v; cure %q; want %q and %q", err, provision.NextAction(err), says, next)
	}
}

// service is Pulumi's service for one token, of which little is needed: who the user is, and
// the state of one stack.
type service struct {
	asked  []string
	status map[string]int // by path, where it is not 200
	owner  string         // of the stack
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked = append(s.asked, r.URL.Path)
	if r.Header.Get("Authorization") != "token pul-good" {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"code":401,"message":"Unauthorized: No credentials provided or are invalid."}`)
		return
	}
	if status := s.status[r.URL.Path]; status != 0 {
		w.WriteHeader(status)
		return
	}
	switch r.URL.Path {
	case "/api/user":
		io.WriteString(w, `{"githubLogin":"ann","organizations":[{"githubLogin":"prego"}]}`)
	case "/api/user/organizations/default":
		io.WriteString(w, `{"GitHubLogin":"prego"}`)
	case "/api/stacks/prego/prego/sg":
		io.WriteString(w, `{"orgName":"prego","projectName":"prego","stackName":"sg"}`)
	case "/api/stacks/prego/prego/dedicated-acme/export":
		io.WriteString(w, `{"version":3,"deployment":{"resources":[{"type":"pulumi:pulumi:Stack","outputs":{"tenant_id":"`+s.owner+`"}}]}}`)
	default:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"code":404,"message":"Not Found"}`)
	}
}

func TestCheckService(t *testing.T) {
	t.Parallel()
	acme := dedicated("job-1", "acme")
	const export, state = "/api/stacks/prego/prego/dedicated-acme/export", "/api/stacks/prego/prego/sg"
	for name, test := range map[string]struct {
		job        provision.Job
		token, org string
		owner      string
		status     map[string]int
		class      provision.Class
		says, next string
		asked      []string
	}{
		"all well":         {job: shared("job-1"), asked: []string{"/api/user", "/api/user/organizations/default", state}},
		"its own stack":    {job: acme, org: "prego", owner: "acme", asked: []string{"/api/user", export}},
		"another's stack":  {job: acme, org: "prego", owner: "rival", class: provision.Conflict, says: `belongs to another tenant: expected acme, found "rival"`, next: "who owns"},
		"no such stack":    {job: acme, org: "other", asked: []string{"/api/user", "/api/stacks/other/prego/dedicated-acme/export"}},
		"an older service": {job: shared("job-1"), status: map[string]int{"/api/user/organizations/default": 404}, asked: []string{"/api/user", "/api/user/organizations/default", "/api/stacks/ann/prego/sg"}},
		"no token":         {job: acme, token: "-", class: provision.Denied, says: "no token", next: "PULUMI_ACCESS_TOKEN"},
		"a wrong token":    {job: acme, token: "pul-bad", class: provision.Denied, says: "does not take the token", next: "PULUMI_ACCESS_TOKEN"},
		"not its stack":    {job: shared("job-1"), org: "prego", status: map[string]int{state: 403}, class: provision.Denied, says: "stacks/prego/prego/sg", next: "pulumi_organization"},
		"down":             {job: acme, status: map[string]int{"/api/user": 503}, class: provision.Busy, says: "503", next: "later"},
		"too many":         {job: acme, status: map[string]int{"/api/user": 429}, class: provision.Busy, says: "429", next: "later"},
		"somebody else":    {job: acme, status: map[string]int{"/api/user": 404}, class: provision.Invalid, says: "not Pulumi's service", next: "PULUMI_BACKEND_URL"},
		"it has moved":     {job: acme, status: map[string]int{"/api/user": 302}, class: provision.Invalid, says: "not Pulumi's service", next: "PULUMI_BACKEND_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &service{status: test.status, owner: test.owner}
			server := httptest.NewServer(s)
			defer server.Close()
			p := &pulumi.Program{Inline: stackprogram.Program(stackprogram.Settings{}), Command: "/bin/false", BackendURL: server.URL + "/", AccessToken: "pul-good", Organization: test.org}
			if test.token != "" {
				p.AccessToken = strings.TrimPrefix(test.token, "-")
			}
			err := p.Check(t.Context(), test.job, test.job.StackName())
			wantRefusal(t, err, test.class, test.says, test.next)
			if err != nil && strings.Contains(err.Error(), "pul-") {
				t.Errorf("%q holds the token", err)
			}
			if diff := cmp.Diff(test.asked, s.asked); test.asked != nil && diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCheckServiceGone has nobody answer.
func TestCheckServiceGone(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	server.Close()
	p := &pulumi.Program{Inline: stackprogram.Program(stackprogram.Settings{}), Command: "/bin/false", BackendURL: server.URL, AccessToken: "pul-good"}
	wantRefusal(t, p.Check(t.Context(), shared("job-1"), "sg"), provision.Busy, "Pulumi's service: no answer", "later")
}

// TestCheckFolder looks at a backend that is a folder, with the real engine's state in it.
func TestCheckFolder(t *testing.T) {
	t.Parallel()
	for name, program := range map[string]func(*world, *testing.T) *pulumi.Program{"built-in": (*world).program, "YAML": (*world).yaml} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := program(w, t)
			acme := dedicated("job-1", "acme")
			if err := p.Check(t.Context(), acme, acme.StackName()); err != nil {
				t.Fatalf("an empty backend: %v", err)
			}
			up(t, p, acme)
			had := files(t, w.backend)
			if err := p.Check(t.Context(), acme, acme.StackName()); err != nil {
				t.Errorf("its own stack: %v", err)
			}
			err := p.Check(t.Context(), dedicated("job-2", "rival"), acme.StackName())
			wantRefusal(t, err, provision.Conflict, "belongs to another tenant", "who owns")
			if diff := cmp.Diff(had, files(t, w.backend)); diff != "" {
				t.Errorf("the check changed the backend (-before +after):\n%s", diff)
			}
			p.BackendURL = "file://" + filepath.Join(w.backend, "missing")
			wantRefusal(t, p.Check(t.Context(), acme, acme.StackName()), provision.NotFound, "missing is no folder", "PULUMI_BACKEND_URL")
			p.BackendURL = "s3://a-bucket"
			if err := p.Check(t.Context(), acme, acme.StackName()); err != nil {
				t.Errorf("a bucket is not asked: %v", err)
			}
		})
	}
}

// TestCheckSource looks for a ref without cloning anything.
func TestCheckSource(t *testing.T) {
	t.Parallel()
	dir, first, _ := repository(t)
	for name, test := range map[string]struct {
		url, ref   string
		class      provision.Class
		says, next string
	}{
		"a branch":             {"file://" + dir, "main", "", "", ""},
		"a tag":                {"file://" + dir, "v1", "", "", ""},
		"by its long name":     {"file://" + dir, "refs/heads/main", "", "", ""},
		"the default":          {"file://" + dir, "", "", "", ""},
		"a commit":             {"file://" + dir, first, "", "", ""},
		"no such ref":          {"file://" + dir, "nope", provision.NotFound, "no branch or tag nope", "pulumi_ref"},
		"the end of another's": {"file://" + dir, "ain", provision.NotFound, "no branch or tag ain", "pulumi_ref"},
		"no such repository":   {"file://" + dir + "-gone", "main", provision.NotFound, "no such repository", "pulumi_repo"},
		"no URL":               {"nothing", "main", provision.Invalid, "pulumi_repo", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			temp := t.TempDir()
			p := &pulumi.Program{Source: &pulumi.Source{URL: test.url, Ref: test.ref}, Command: "/bin/false", Path: os.Getenv("PATH"), TempDir: temp, BackendURL: "s3://b"}
			wantRefusal(t, p.Check(t.Context(), shared("job-1"), "sg"), test.class, test.says, test.next)
			if left := files(t, temp); len(left) > 0 {
				t.Errorf("the check left %v", left)
			}
		})
	}
}

// TestCheckNamesAll that is wrong.
func TestCheckNamesAll(t *testing.T) {
	t.Parallel()
	p := &pulumi.Program{Source: &pulumi.Source{URL: "nothing"}, Path: t.TempDir(), TempDir: t.TempDir(), BackendURL: "file:///nowhere/at/all"}
	err := p.Check(t.Context(), shared("job-1"), "sg")
	for _, says := range []string{"no pulumi command", "pulumi_repo", "file:///nowhere/at/all"} {
		wantRefusal(t, err, provision.Invalid, says, "")
	}
}
