package pulumi_test

import (
	"encoding/pem"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
)

const gitToken = "git-token-of-the-tests"

// git runs git in dir, and returns what it printed.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// repository makes a repository of three commits, of which it returns the first two: the
// first is tagged v1, and main has moved on.
func repository(t *testing.T) (dir, first, second string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "repo")
	git(t, "", "init", "--quiet", "-b", "main", dir)
	commits := make([]string, 3)
	for i, text := range []string{"one", "two", "three"} {
		if err := os.WriteFile(filepath.Join(dir, "Pulumi.yaml"), []byte("name: "+text), 0o600); err != nil {
			t.Fatal(err)
		}
		git(t, dir, "add", ".")
		git(t, dir, "commit", "--quiet", "-m", text)
		commits[i] = git(t, dir, "rev-parse", "HEAD")
	}
	git(t, dir, "tag", "-a", "-m", "v1", "v1", commits[0])
	return dir, commits[0], commits[1]
}

// checkout fetches s into a new folder.
func checkout(t *testing.T, s *pulumi.Source) (dir, commit string, err error) {
	t.Helper()
	root := t.TempDir()
	dir = filepath.Join(root, "program")
	commit, err = s.Checkout(t.Context(), &pulumi.Program{Path: os.Getenv("PATH"), Source: s}, root, dir)
	return dir, commit, err
}

func TestSource(t *testing.T) {
	t.Parallel()
	repo, first, second := repository(t)
	unreachable := strings.Repeat("ab", 20)
	for name, test := range map[string]struct {
		ref  string
		want string
		err  provision.Class
	}{
		"default":        {"", "name: three", ""},
		"branch":         {"main", "name: three", ""},
		"tag":            {"v1", "name: one", ""},
		"commit":         {second, "name: two", ""},
		"tagged commit":  {first, "name: one", ""},
		"unknown branch": {"nope", "", provision.NotFound},
		"unknown commit": {unreachable, "", provision.NotFound},
		"option":         {"--upload-pack=touch /tmp/x", "", provision.Invalid},
		"two lines":      {"main\nx", "", provision.Invalid},
		"reflog":         {"main@{1}", "", provision.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, commit, err := checkout(t, &pulumi.Source{URL: "file://" + repo, Ref: test.ref})
			if provision.ClassOf(err) != test.err {
				t.Fatalf("checkout: %v (%s), want %q", err, provision.ClassOf(err), test.err)
			}
			if err != nil {
				return
			}
			got, _ := os.ReadFile(filepath.Join(dir, "Pulumi.yaml"))
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("Pulumi.yaml (-want +got):\n%s", diff)
			}
			if len(commit) != 40 {
				t.Errorf("commit is %q", commit)
			}
		})
	}
}

func TestSourceURLs(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"", "ext::sh -c true", "http://example.com/r", "--upload-pack=x", "https://user:secret@example.com/r",
		"https://token@example.com/r", "git://example.com/r", "file://host/r", "file:relative", "https://", "https://-x/r",
		"https://example.com/r\n--x", "/etc", "-oProxyCommand=x@host:r", "a@-oProxyCommand=x:r"} {
		_, _, err := checkout(t, &pulumi.Source{URL: u, Ref: "main"})
		if provision.ClassOf(err) != provision.Invalid {
			t.Errorf("%q: %v (%s), want invalid", u, err, provision.ClassOf(err))
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error %q shows the password", u, err)
		}
	}
}

// TestSourceRunsNothing fetches a repository that tries everything to be run or followed.
func TestSourceRunsNothing(t *testing.T) {
	t.Parallel()
	repo, _, _ := repository(t)
	mark := filepath.Join(t.TempDir(), "mark")
	for name, text := range map[string]string{
		".gitattributes": "* filter=evil\n",
		".gitmodules":    "[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c \"touch " + mark + "\"\n",
	} {
		if err := os.WriteFile(filepath.Join(repo, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hook := filepath.Join(repo, ".git", "hooks", "post-checkout")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	git(t, repo, "add", ".")
	git(t, repo, "commit", "--quiet", "-m", "evil")
	if _, _, err := checkout(t, &pulumi.Source{URL: "file://" + repo}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("something in the repository was run")
	}
	for name, target := range map[string]string{"absolute": "/etc/passwd", "relative": "../../../etc/passwd", "nowhere": "gone"} {
		t.Run(name, func(t *testing.T) {
			repo, _, _ := repository(t)
			if err := os.Symlink(target, filepath.Join(repo, "link")); err != nil {
				t.Fatal(err)
			}
			git(t, repo, "add", ".")
			git(t, repo, "commit", "--quiet", "-m", "link")
			if _, _, err := checkout(t, &pulumi.Source{URL: "file://" + repo}); provision.ClassOf(err) != provision.Invalid {
				t.Errorf("a link to %s: %v, want invalid", target, err)
			}
		})
	}
}

func TestSourceLimits(t *testing.T) {
	t.Parallel()
	t.Run("size", func(t *testing.T) {
		t.Parallel()
		repo, _, _ := repository(t)
		big := make([]byte, 8<<20)
		for i := range big {
			big[i] = byte(i * i >> 3 * 31)
		}
		if err := os.WriteFile(filepath.Join(repo, "big"), big, 0o600); err != nil {
			t.Fatal(err)
		}
		git(t, repo, "add", ".")
		git(t, repo, "commit", "--quiet", "-m", "big")
		root := t.TempDir()
		s := &pulumi.Source{URL: "file://" + repo, MaxSize: 1 << 10}
		_, err := s.Checkout(t.Context(), &pulumi.Program{Path: slowGit(t) + ":" + os.Getenv("PATH")}, root, filepath.Join(root, "p"))
		if provision.ClassOf(err) != provision.Invalid {
			t.Errorf("checkout of a big repository: %v (%s), want invalid", err, provision.ClassOf(err))
		}
	})
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		hang := make(chan struct{})
		server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
		t.Cleanup(func() { close(hang); server.Close() })
		_, _, err := checkout(t, &pulumi.Source{URL: server.URL + "/r", CAFile: certificate(t, server), Timeout: 500 * time.Millisecond})
		if provision.ClassOf(err) != provision.Busy {
			t.Errorf("checkout from a server that hangs: %v (%s), want busy", err, provision.ClassOf(err))
		}
	})
}

// slowGit returns a folder with a git that lingers after its work, so that its size is seen.
func slowGit(t *testing.T) string {
	t.Helper()
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "git"), []byte("#!/bin/sh\n"+real+" \"$@\" || exit\nsleep 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSourceEnvironment shows git the way to the repository, and none of what is pulumi's.
func TestSourceEnvironment(t *testing.T) {
	t.Parallel()
	dir, root := t.TempDir(), t.TempDir()
	script := "#!/bin/sh\nenv > " + dir + "/env\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "git"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, backend := range []string{"s3://b", "gs://b", "azblob://b", "https://pulumi.example.com"} {
		p := &pulumi.Program{
			Path: dir + ":" + os.Getenv("PATH"), BackendURL: backend, AccessToken: "a", Passphrase: "b", HCloudToken: "c", HCloudEndpoint: "d",
			Env: []string{"SSH_AUTH_SOCK=/run/agent", "LANG=C.UTF-8", "GITHUB_TOKEN=e", "AWS_SECRET_ACCESS_KEY=f", "AWS_REGION=g",
				"GOOGLE_CREDENTIALS=h", "AZURE_STORAGE_KEY=i"},
		}
		_, _ = (&pulumi.Source{URL: "https://git.example.com/r", Token: gitToken}).Checkout(t.Context(), p, root, filepath.Join(root, url.PathEscape(backend)))
		data, err := os.ReadFile(filepath.Join(dir, "env"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(data)) {
			name, _, _ := strings.Cut(line, "=")
			if !strings.HasPrefix(name, "GIT_") && !slices.Contains([]string{"PWD", "SHLVL", "_", "OLDPWD"}, name) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff([]string{"HOME", "LANG", "PATH", "SSH_AUTH_SOCK", "TMPDIR"}, got); diff != "" {
			t.Errorf("with %s the variables are (-want +got):\n%s", backend, diff)
		}
	}
}

func TestSourceOverHTTPS(t *testing.T) {
	t.Parallel()
	exe := filepath.Join(git(t, "", "--exec-path"), "git-http-backend")
	if _, err := os.Stat(exe); err != nil {
		t.Skip("there is no git http-backend")
	}
	repo, first, second := repository(t)
	backend := &cgi.Handler{Path: exe, Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(repo), "GIT_HTTP_EXPORT_ALL=1"}}
	var answer atomic.Int64 // a status to answer with; 0 to work
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		status := int(answer.Load())
		switch {
		case status == http.StatusFound:
			http.Redirect(w, r, "https://elsewhere.example.com/", status)
		case status != 0:
			w.WriteHeader(status)
		case password != gitToken:
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			backend.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	source := pulumi.Source{URL: server.URL + "/repo", CAFile: certificate(t, server), Token: gitToken}

	for _, ref := range []string{"main", "v1", first, second} {
		s := source
		s.Ref = ref
		dir, _, err := checkout(t, &s)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
		}
		if out, _ := exec.Command("grep", "-r", gitToken, filepath.Dir(dir)).CombinedOutput(); len(out) > 0 {
			t.Errorf("%s: the token is in a file: %s", ref, out)
		}
	}
	for name, test := range map[string]struct {
		url, token string
		status     int
		want       provision.Class
	}{
		"wrong token":    {source.URL, "another-token", 0, provision.Denied},
		"no token":       {source.URL, "", 0, provision.Denied},
		"forbidden":      {source.URL, gitToken, http.StatusForbidden, provision.Denied},
		"no repository":  {server.URL + "/nope", gitToken, 0, provision.NotFound},
		"broken server":  {source.URL, gitToken, http.StatusBadGateway, provision.Busy},
		"too many calls": {source.URL, gitToken, http.StatusTooManyRequests, provision.Busy},
		"moved":          {source.URL, gitToken, http.StatusFound, provision.Invalid},
	} {
		s := source
		s.URL, s.Token = test.url, test.token
		answer.Store(int64(test.status))
		_, _, err := checkout(t, &s)
		if provision.ClassOf(err) != test.want {
			t.Errorf("%s: %v (%s), want %s", name, err, provision.ClassOf(err), test.want)
		}
		if err != nil && test.token != "" && strings.Contains(err.Error(), test.token) {
			t.Errorf("%s: the error %q shows the token", name, err)
		}
	}
	server.Close()
	if _, _, err := checkout(t, &source); provision.ClassOf(err) != provision.Busy {
		t.Errorf("no server: %v (%s), want busy", err, provision.ClassOf(err))
	}
}

// certificate writes the server's certificate to a file.
func certificate(t *testing.T, server *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
