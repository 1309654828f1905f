package github_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	sandbox "github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// key is the App's, made once.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic("unreachable: " + err.Error())
	}
	return k
})

func pkcs1(k *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}))
}

func pkcs8(t *testing.T, k any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// newApp returns App 7 with its installation 42.
func newApp(t *testing.T) *github.App {
	t.Helper()
	app, err := github.NewApp("7", "42", pkcs1(key()))
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// github7 is a stand-in on which App 7 is installed as 42.
func github7(o sandbox.Options, a sandbox.App) *sandbox.Server {
	if a.ID == 0 {
		a.ID, a.Installation, a.Key = 7, 42, &key().PublicKey
	}
	o.Repo, o.Token, o.Files, o.App, o.Runner = "o/r", "t0k3n", os.DirFS("../.."), &a, sandbox.RunnerAway
	if o.Limits == (sandbox.Limits{}) {
		o.Limits = sandbox.Unlimited()
	}
	return sandbox.New(o)
}

// inMemory returns a workflow that asks s without a network, as app.
func inMemory(s http.Handler, app *github.App) github.Workflow {
	return github.Workflow{Repo: "o/r", File: "provision-tenant.yml", App: app,
		HTTP: &http.Client{Transport: standin.Transport{Handler: s}}}
}

func inputs(id string) map[string]any {
	return map[string]any{"job_id": id, "tenant_id": "t", "region": "sg", "create_new_server": true,
		"subdomain_slug": "s", "canonical_hostname": "s.pregoi.com"}
}

// A token is asked for once, shared, and renewed before it ends.
func TestAppToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := github7(sandbox.Options{}, sandbox.App{})
		w := inMemory(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			s.Handler().ServeHTTP(rec, r)
			if rec.Code == http.StatusUnauthorized {
				t.Errorf("%s with a token that has ended", r.URL)
			}
			maps.Copy(rw.Header(), rec.Header())
			rw.WriteHeader(rec.Code)
			rw.Write(rec.Body.Bytes())
		}), newApp(t))
		// Asked at once by many, one request for a token is under way.
		s.Faults.Set(func(r *http.Request) standin.Action { return standin.Action{Delay: time.Second} })
		var many sync.WaitGroup
		for range 20 {
			many.Go(func() {
				if _, err := w.Read(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		many.Wait()
		if n := s.TokensIssued(); n != 1 {
			t.Errorf("%d tokens were asked for, want 1", n)
		}
		var renewed []int
		for minute := range 120 { // two hours
			time.Sleep(time.Minute) // virtual
			before := s.TokensIssued()
			if _, err := w.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s.TokensIssued() > before {
				renewed = append(renewed, minute+1)
			}
		}
		if len(renewed) != 2 || renewed[0] < 50 || renewed[0] > 56 || renewed[1] < 100 || renewed[1] > 112 {
			t.Errorf("a token that lives for an hour was renewed after %d minutes", renewed)
		}
		if run, err := w.Start(t.Context(), inputs("j")); err != nil || run.ID == 0 {
			t.Errorf("Start = %+v, %v", run, err)
		}
	})
}

// A token that has ended before its time is renewed once. Nothing is started twice.
func TestAppTokenRevoked(t *testing.T) {
	t.Parallel()
	s := github7(sandbox.Options{}, sandbox.App{})
	w := inMemory(s.Handler(), newApp(t))
	if _, err := w.Start(t.Context(), inputs("a")); err != nil {
		t.Fatal(err)
	}
	s.RevokeTokens()
	if run, err := w.Start(t.Context(), inputs("b")); err != nil || run.ID == 0 {
		t.Errorf("after the end of its token: %+v, %v", run, err)
	}
	if n := s.TokensIssued(); n != 2 || len(s.Runs()) != 2 {
		t.Errorf("%d tokens, %d runs, want 2 and 2", n, len(s.Runs()))
	}

	asked := 0
	s.Faults.Set(func(r *http.Request) standin.Action {
		if strings.HasSuffix(r.URL.Path, "/dispatches") {
			asked++
			return standin.Action{Status: 401, Body: said("Bad credentials")}
		}
		return standin.Action{}
	})
	_, err := w.Start(t.Context(), inputs("c"))
	if provision.ClassOf(err) != provision.Denied || asked != 2 || !strings.Contains(provision.NextAction(err), "a new one too") {
		t.Errorf("a token that is always refused: %v after %d requests; %s", err, asked, provision.NextAction(err))
	}
}

// However wrong a machine's clock is, the App gets its token and keeps it.
func TestAppClock(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-25 * time.Hour, -10 * time.Minute, -time.Minute, -20 * time.Second, 20 * time.Second, 5 * time.Minute, 25 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s := github7(sandbox.Options{Now: func() time.Time { return time.Now().Add(skew) }}, sandbox.App{})
			w := inMemory(s.Handler(), newApp(t))
			for range 4 { // a token lives for an hour, by GitHub's clock
				if _, err := w.Read(t.Context()); err != nil {
					t.Fatalf("%s: %v", skew, err)
				}
				time.Sleep(20 * time.Minute) // virtual
			}
			if n := s.TokensIssued(); n != 2 {
				t.Errorf("%s: %d tokens, want 2", skew, n)
			}
		})
	}
}

// Why there is no token, what it means, and what to do.
func TestAppRefused(t *testing.T) {
	t.Parallel()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	app := func(f func(*sandbox.App)) sandbox.App {
		a := sandbox.App{ID: 7, Installation: 42, Key: &key().PublicKey}
		f(&a)
		return a
	}
	const op = "get a token of installation 42 of App 7: "
	for _, test := range []struct {
		name       string
		app        sandbox.App
		fault      standin.Action
		class      provision.Class
		text, next string
	}{
		{"another's key", app(func(a *sandbox.App) { a.Key = &other.PublicKey }), standin.Action{}, provision.Denied, "401 A JSON web token could not be decoded", "GITHUB_APP_PRIVATE_KEY is a key of App 7"},
		{"no such App", app(func(a *sandbox.App) { a.ID = 8 }), standin.Action{}, provision.NotFound, "404 Integration not found", "GITHUB_APP_ID"},
		{"no such installation", app(func(a *sandbox.App) { a.Installation = 43 }), standin.Action{}, provision.NotFound, "404 Not Found", "GITHUB_APP_INSTALLATION_ID"},
		{"suspended", app(func(a *sandbox.App) { a.Suspended = true }), standin.Action{}, provision.Denied, "403 This installation has been suspended", "unsuspend installation 42"},
		{"forbidden", sandbox.App{}, standin.Action{Status: 403, Body: said("no")}, provision.Denied, "403 no", "settings"},
		{"the clock, for ever", sandbox.App{}, standin.Action{Status: 401, Body: said("'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")}, provision.Denied, "401 'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued", "clock"},
		{"primary limit", sandbox.App{}, standin.Action{Status: 403, Body: said("API rate limit exceeded"), Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1"}}}, provision.Busy, "403 API rate limit exceeded", "send the same again in 1 seconds"},
		{"secondary limit", sandbox.App{}, standin.Action{Status: 429, Body: said("secondary rate limit")}, provision.Busy, "429 secondary rate limit", "in 60 seconds"},
		{"502", sandbox.App{}, standin.Action{Status: 502}, provision.Busy, "502", ""},
		{"lost", sandbox.App{}, standin.Action{Lose: true}, provision.Busy, "EOF", ""},
		{"html", sandbox.App{}, standin.Action{Status: 201, Body: "<html>"}, provision.Busy, "201 without the answer that belongs to it", ""},
		{"no token", sandbox.App{}, standin.Action{Status: 201, Body: `{"expires_at":"2100-01-01T00:00:00Z"}`}, provision.Busy, "201 without the answer that belongs to it", ""},
		{"no end", sandbox.App{}, standin.Action{Status: 201, Body: `{"token":"s3cret"}`}, provision.Busy, "201 without the answer that belongs to it", ""},
		{"moved to another host", sandbox.App{}, standin.Action{Status: 307, Header: http.Header{"Location": {"http://elsewhere.example/app"}}}, provision.NotFound, "307", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := github7(sandbox.Options{}, test.app)
			dispatches := 0
			s.Faults.Set(func(r *http.Request) standin.Action {
				if r.Host == "elsewhere.example" {
					t.Errorf("the other host was asked")
				}
				if strings.HasPrefix(r.URL.Path, "/app/") {
					return test.fault
				}
				dispatches++
				return standin.Action{}
			})
			_, err := inMemory(s.Handler(), newApp(t)).Start(t.Context(), inputs("j"))
			if err == nil || err.Error() != op+test.text && !strings.HasPrefix(err.Error(), op+test.text+" (request ") {
				t.Errorf("err = %v, want %s%s", err, op, test.text)
			}
			if c := provision.ClassOf(err); c != test.class {
				t.Errorf("class = %s, want %s", c, test.class)
			}
			if next := provision.NextAction(err); !strings.Contains(next, test.next) {
				t.Errorf("advice = %q, want %q in it", next, test.next)
			}
			if errors.As(err, new(*github.AmbiguousError)) || dispatches > 0 {
				t.Errorf("ambiguous: %v, after %d dispatches", err, dispatches)
			}
			if errors.As(err, new(*github.LimitError)) != strings.Contains(test.name, "limit") {
				t.Errorf("a limit? %v", err)
			}
		})
	}
}

// After a limit no token is asked for before its end, and whoever waits can give up.
func TestAppQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := github7(sandbox.Options{}, sandbox.App{})
		asked := 0
		fault := standin.Action{Status: 403, Body: said("secondary rate limit"), Header: http.Header{"Retry-After": {"90"}}}
		s.Faults.Set(func(r *http.Request) standin.Action { asked++; return fault })
		w := inMemory(s.Handler(), newApp(t))
		for range 9 {
			if _, err := w.Read(t.Context()); !errors.As(err, new(*github.LimitError)) {
				t.Errorf("Read: %v", err)
			}
			time.Sleep(9900 * time.Millisecond) // virtual; 89 seconds in all
		}
		if asked != 1 {
			t.Errorf("%d requests in the time of the limit, want 1", asked)
		}
		time.Sleep(2 * time.Second)
		s.Faults.Set(nil)
		if _, err := w.Read(t.Context()); err != nil {
			t.Errorf("after the limit: %v", err)
		}

		s.RevokeTokens()
		s.Faults.Set(func(r *http.Request) standin.Action {
			if strings.HasPrefix(r.URL.Path, "/app/") {
				return standin.Action{Delay: time.Hour}
			}
			return standin.Action{}
		})
		w = inMemory(s.Handler(), newApp(t))
		first, stop := context.WithCancel(t.Context())
		go w.Read(first)
		synctest.Wait()
		second, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.Read(second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one that waits for another's token: %v", err)
		}
		// When the one that asks is stopped, another asks.
		s.Faults.Set(nil)
		var err error
		var third sync.WaitGroup
		third.Go(func() { _, err = w.Read(t.Context()) })
		synctest.Wait()
		stop()
		third.Wait()
		if err != nil {
			t.Errorf("after the one that asked was stopped: %v", err)
		}
	})
}

// What may be written into the three variables.
func TestNewApp(t *testing.T) {
	t.Parallel()
	one := pkcs1(key())
	for name, text := range map[string]string{
		"PKCS #1": one, "PKCS #8": pkcs8(t, key()), "on one line": strings.ReplaceAll(one, "\n", `\n`), "with more around it": "\n# the key\n" + one + "\n",
		"with CRLF": strings.ReplaceAll(one, "\n", "\r\n"),
	} {
		app, err := github.NewApp(" 7\n", "42", text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := inMemory(github7(sandbox.Options{}, sandbox.App{}).Handler(), app).Read(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		id, installation, key string
		class                 provision.Class
		text                  string
	}{
		{"", "42", one, provision.Invalid, `GITHUB_APP_ID "" is no positive number`},
		{"Iv1.8a61f9b3a7aba766", "42", one, provision.Invalid, `GITHUB_APP_ID "Iv1.8a61f9b3a7aba766" is no positive number`},
		{"7", "-1", one, provision.Invalid, `GITHUB_APP_INSTALLATION_ID "-1" is no positive number`},
		{"7", "42", "", provision.Denied, "GITHUB_APP_PRIVATE_KEY is no RSA private key in PEM"},
		{"7", "42", "s3cret", provision.Denied, "GITHUB_APP_PRIVATE_KEY is no RSA private key in PEM"},
		{"7", "42", pkcs8(t, curve), provision.Denied, "GITHUB_APP_PRIVATE_KEY is no RSA private key in PEM"},
		{"7", "42", strings.Replace(one, "MII", "MIJ", 1), provision.Denied, "GITHUB_APP_PRIVATE_KEY is no RSA private key in PEM"},
	} {
		if _, err := github.NewApp(test.id, test.installation, test.key); err == nil || err.Error() != test.text || provision.ClassOf(err) != test.class {
			t.Errorf("NewApp(%q, %q, …) = %v of class %s, want %s", test.id, test.installation, err, provision.ClassOf(err), test.text)
		}
	}
}

// The exchange is as GitHub describes it, at an Enterprise's address too.
func TestAppContract(t *testing.T) {
	s := github7(sandbox.Options{}, sandbox.App{})
	checked := contract.Handler(t, "github.json", "", s.Handler())
	h := httptest.NewServer(http.StripPrefix("/api/v3", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/app/") {
			body, _ := io.ReadAll(r.Body)
			if strings.TrimSpace(string(body)) != "{}" {
				t.Errorf("%s with the body %q", r.URL, body)
			}
			r.Body = io.NopCloser(strings.NewReader(string(body)))
		}
		checked.ServeHTTP(rw, r)
	})))
	defer h.Close()
	w := github.Workflow{BaseURL: h.URL + "/api/v3", Repo: "o/r", File: "provision-tenant.yml", App: newApp(t)}
	if run, err := w.Start(t.Context(), inputs("j")); err != nil || run.ID != s.Runs()[0].ID {
		t.Errorf("Start = %+v, %v", run, err)
	}
	// A token for one server is not shown to another.
	other := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/app/") {
			t.Errorf("%s with %q", r.URL, r.Header.Get("Authorization"))
		}
		answer(404, said("Integration not found"))(rw, r)
	}))
	defer other.Close()
	w.BaseURL = other.URL
	if _, err := w.Read(t.Context()); provision.ClassOf(err) != provision.NotFound {
		t.Errorf("Read at another server: %v", err)
	}
}
