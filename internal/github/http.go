package github

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// apiVersion is the version of the API that all requests name. 2026-03-10 is newer, and
// unknown to GitHub Enterprise Server before 3.21.
const apiVersion = "2022-11-28"

// What bounds an answer's body, in bytes. A page of the list of runs is the longest: of each
// of a hundred runs it says some 16 kB, and the whole message of its commit.
const (
	maxAnswer = 2 << 20
	maxList   = 16 << 20 // to what is read
)

// request returns a request for a path below the repository, with the token in it.
func (w Workflow) request(ctx context.Context, method, below string, body any) (*http.Request, error) {
	c, err := w.client()
	if err != nil {
		return nil, err
	}
	req, err := c.NewRequest(method, "repos/"+w.Repo+"/"+below, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-GitHub-Api-Version", apiVersion)
	token := w.Token
	if w.App != nil {
		if token, err = w.App.get(ctx, w, ""); err != nil {
			return nil, err
		}
	}
	if token != "" {
		authorize(req, token)
	}
	return req.WithContext(ctx), nil
}

// authorize puts a token into the request, and not into the transport: net/http then keeps
// it from other hosts too.
func authorize(req *http.Request, token string) { req.Header.Set("Authorization", "Bearer "+token) }

// An answer is what came of a request.
type answer struct {
	resp    *gh.Response // nil when none came
	err     error        // nil for 2xx
	sent    bool         // the request may have reached GitHub
	garbled bool         // the status says yes, and the body does not
}

func (a answer) status() int {
	if a.resp == nil || a.resp.Response == nil {
		return 0
	}
	return a.resp.StatusCode
}

// do sends req and decodes the answer's JSON into v. A body that cannot be decoded is
// garbled. An App's token that is refused is renewed once.
func (w Workflow) do(ctx context.Context, req *http.Request, v any) answer {
	c, err := w.client()
	if err != nil {
		return answer{err: err}
	}
	a := w.once(ctx, c, req, v)
	if w.App == nil || a.status() != http.StatusUnauthorized {
		return a
	}
	token, err := w.App.get(ctx, w, strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		return answer{err: err}
	}
	again := req.Clone(ctx)
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return answer{err: err}
		}
	}
	authorize(again, token)
	return w.once(ctx, c, again, v)
}

// once is do for one request.
func (w Workflow) once(ctx context.Context, c *gh.Client, req *http.Request, v any) answer {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(w.Timeout, 20*time.Second))
	defer cancel()
	var a answer
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { a.sent = true },
	})
	a.resp, a.err = c.Do(ctx, req, v)
	if s := a.status(); a.err != nil && s >= 200 && s <= 299 {
		a.garbled = true
	}
	return a
}

// sameHost follows a redirect only where the same request may go with the same token: it
// stays on the host and keeps its method. What it does not follow is answered as it is.
func sameHost(req *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > 5 || req.URL.Host != first.URL.Host || req.URL.Scheme != first.URL.Scheme || req.Method != first.Method {
		return http.ErrUseLastResponse
	}
	return nil
}

// bounded cuts the bodies of answers off.
type bounded struct{ base http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	base := b.base
	if base == nil {
		base = http.DefaultTransport
	}
	resp, err := base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	most := int64(maxAnswer)
	if req.Method == http.MethodGet {
		most = maxList
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, most), resp.Body}
	return resp, nil
}
