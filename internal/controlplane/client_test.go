package controlplane_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/provision"
)

const key = "a-key-of-more-than-thirty-two-characters"

// serve answers with h, and returns a client that does not wait long.
func serve(t *testing.T, h http.HandlerFunc) *controlplane.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &controlplane.Client{URL: s.URL, Key: key, Pause: time.Millisecond}
}

func TestClasses(t *testing.T) {
	t.Parallel()
	const problem = `{"title":"x","detail":"what was wrong","errors":[{"location":"body.host","message":"is no host"}],"next_action":"mend it"}`
	for _, test := range []struct {
		status int
		kind   string
		want   provision.Class
		tries  int32
	}{
		{400, "application/problem+json", provision.Invalid, 1},
		{401, "application/problem+json", provision.Denied, 1},
		{403, "application/problem+json", provision.Denied, 1},
		{404, "application/problem+json", provision.NotFound, 1},
		{404, "text/html", provision.Invalid, 1},
		{409, "application/problem+json", provision.Conflict, 1},
		{422, "application/problem+json", provision.Invalid, 1},
		{429, "application/problem+json", provision.Busy, 5},
		{500, "application/problem+json", provision.Busy, 5},
		{503, "text/html", provision.Busy, 5},
		{301, "text/html", provision.Invalid, 1},
	} {
		var n atomic.Int32
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			w.Header().Set("Content-Type", test.kind)
			w.Header().Set("cf-ray", "ray-7")
			w.Header().Set("Location", "https://example.com/")
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(problem))
		})
		_, err := c.Node(t.Context(), "n1")
		if got := provision.ClassOf(err); got != test.want || n.Load() != test.tries {
			t.Errorf("%d %s: class %q after %d tries, want %q after %d (%v)", test.status, test.kind, got, n.Load(), test.want, test.tries, err)
		}
		if !strings.Contains(err.Error(), "ray-7") || strings.Contains(err.Error(), key) {
			t.Errorf("%d: the error %q must name the request, and not the key", test.status, err)
		}
		if test.kind == "application/problem+json" {
			for _, want := range []string{"node n1", "what was wrong", "body.host is no host"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%d: the error %q does not say %q", test.status, err, want)
				}
			}
			if got := provision.NextAction(err); got != "mend it" {
				t.Errorf("%d: next action %q, want the remote's", test.status, got)
			}
		}
	}
}

// A redirect is not followed: the key must not travel.
func TestNoRedirects(t *testing.T) {
	t.Parallel()
	var followed atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
	defer other.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	c.HTTP = &http.Client{CheckRedirect: nil}
	if _, err := c.Node(t.Context(), "n1"); err == nil || followed.Load() {
		t.Errorf("redirect: %v, followed %t", err, followed.Load())
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "cp.example.com", "http://cp.example.com", "http://127.0.0.1.example.com", "ftp://127.0.0.1",
		"https://user:secret@cp.example.com", "https://cp.example.com?x=1", "https://cp.example.com#x", "file:///etc/passwd", "http://169.254.169.254", "http://10.0.0.1"} {
		c := &controlplane.Client{URL: bad, Key: key}
		_, err := c.Nodes(t.Context())
		if provision.ClassOf(err) != provision.Invalid {
			t.Errorf("URL %q: %v, want it refused", bad, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("URL %q: the error %q repeats a password", bad, err)
		}
	}
}

func TestPathsAreEscaped(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.RequestURI)
		_, _ = w.Write([]byte(`{}`))
	})
	c.URL += "/base/"
	for id, want := range map[string]string{
		"n1":           "/base/internal/nodes/n1",
		"../admin":     "/base/internal/nodes/..%2Fadmin",
		"a?b#c":        "/base/internal/nodes/a%3Fb%23c",
		"a%2fb":        "/base/internal/nodes/a%252fb",
		"a\r\nHost: x": "/base/internal/nodes/a%0D%0AHost:%20x",
	} {
		if _, err := c.Node(t.Context(), id); err != nil || got.Load() != want {
			t.Errorf("Node(%q) asked for %v, %v, want %s", id, got.Load(), err, want)
		}
	}
	for _, id := range []string{"", ".", ".."} {
		if _, err := c.Node(t.Context(), id); provision.ClassOf(err) != provision.Invalid {
			t.Errorf("Node(%q): %v, want it refused", id, err)
		}
	}
}

// What may be repeated is repeated until it is answered; a registration is sent once.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) < 3 {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(`{"node_id":"n1"}`))
	})
	node, err := c.Node(t.Context(), "n1")
	if err != nil || node.ID != "n1" || n.Load() != 3 {
		t.Errorf("Node: %+v, %v after %d tries, want it at the third", node, err, n.Load())
	}
	n.Store(0)
	if err := c.Complete(t.Context(), provision.Completion{JobID: "j"}); err != nil || n.Load() != 3 {
		t.Errorf("Complete: %v after %d tries, want it at the third", err, n.Load())
	}
	n.Store(0)
	err = c.RegisterNode(t.Context(), provision.Node{ID: "n1"}, provision.Job{ID: "j"})
	if provision.ClassOf(err) != provision.Busy || n.Load() != 1 {
		t.Errorf("RegisterNode: %v after %d tries, want busy after one", err, n.Load())
	}
}

// An answer that is cut off or not JSON is as good as none.
func TestGarbage(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("<html>hello")) })
	if _, err := c.Node(t.Context(), "n1"); provision.ClassOf(err) != provision.Busy {
		t.Errorf("Node: %v, want busy", err)
	}
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { <-release })
	t.Cleanup(func() { close(release) }) // before the server's own
	c.Timeout = 20 * time.Millisecond
	if err := c.RegisterNode(t.Context(), provision.Node{ID: "n1"}, provision.Job{}); provision.ClassOf(err) != provision.Busy {
		t.Errorf("a request without an answer: %v, want busy", err)
	}
	c.Timeout, c.Pause = time.Minute, time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := c.Node(ctx, "n1"); !errors.Is(err, context.Canceled) || provision.ClassOf(err) != provision.Cancelled {
		t.Errorf("a cancelled request: %v, want cancelled", err)
	}
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	start := time.Now()
	if err := c.Complete(short, provision.Completion{JobID: "j"}); provision.ClassOf(err) != provision.Busy || time.Since(start) > 10*time.Second {
		t.Errorf("a deadline: %v after %s", err, time.Since(start))
	}
}

// The key that an order makes up is the same on each try, or a lost answer would be a second order.
func TestEnqueueRepeatsItself(t *testing.T) {
	t.Parallel()
	var keys []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		if len(keys) == 1 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(`{"job_id":"job_1"}`))
	})
	a, err := c.Enqueue(t.Context(), controlplane.Order{TenantID: "acme"})
	if err != nil || a.JobID != "job_1" || len(keys) != 2 || keys[0] != keys[1] || keys[0] == "" {
		t.Errorf("Enqueue: %+v, %v with keys %q", a, err, keys)
	}
}

func TestLongTextIsCut(t *testing.T) {
	t.Parallel()
	var size atomic.Int64
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { size.Store(r.ContentLength) })
	if err := c.Complete(t.Context(), provision.Completion{JobID: "j", Error: strings.Repeat("ü", 1<<20)}); err != nil || size.Load() > 10<<10 {
		t.Errorf("Complete: %v with %d bytes", err, size.Load())
	}
}

// What a refusal and a silence have to be seen to with is said where the remote does not.
func TestCures(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	if _, err := c.Node(t.Context(), "n1"); !strings.Contains(provision.NextAction(err), "INTERNAL_API_KEY") {
		t.Errorf("%v: cure %q", err, provision.NextAction(err))
	}
	s := httptest.NewServer(nil)
	s.Close()
	c.URL = s.URL
	if _, err := c.Node(t.Context(), "n1"); provision.ClassOf(err) != provision.Busy || !strings.Contains(provision.NextAction(err), "CONTROL_PLANE_URL") {
		t.Errorf("%v: cure %q", err, provision.NextAction(err))
	}
}
