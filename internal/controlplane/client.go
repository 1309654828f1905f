// Package controlplane speaks to the control plane's API from outside: the action registers
// nodes, traces and completes its job with it; operators' commands and the sandbox enqueue
// and read back.
//
// [Client] is ready as a literal. Each route is one method; to add one, write it with call,
// which has the deadline, the limits, the retries and the classes of errors. What may be
// repeated is repeated there; a request whose repetition could do harm is sent once.
package controlplane

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Client calls one control plane. It is safe for concurrent use.
type Client struct {
	// URL is where the API's paths begin. It must be https, or http to a loopback address.
	URL string
	// Key is INTERNAL_API_KEY.
	Key string
	// HTTP sends the requests; nil for [http.DefaultTransport]. Redirects are not followed,
	// whatever it says: the key is for this host alone.
	HTTP *http.Client
	// Timeout ends one request; 0 for 5 s, less than a cancelled run has left to live.
	Timeout time.Duration
	// Tries is how often a request that may be repeated is sent while nobody answers; 0 for
	// 5, which takes 4 s. 16 take a minute.
	Tries int
	// Pause comes before the second try and doubles with each more; 0 for 250 ms.
	Pause time.Duration
}

// Limits of a request.
const (
	maxAnswer  = 32 << 20 // the list of ten thousand nodes is about 4 MB
	maxError   = 64 << 10
	defTries   = 5
	maxPause   = 5 * time.Second
	defTimeout = 5 * time.Second
	defPause   = 250 * time.Millisecond
)

// call describes one request.
type call struct {
	method string
	path   []string // of the route; each is escaped
	query  url.Values
	body   any // nil for none
	header map[string]string
	once   bool // never repeated
	what   string
}

// do sends the request, decodes the answer into out unless that is nil, and returns its
// status. An answer that was lost is [provision.Busy]: nobody knows what it was.
func (c *Client) do(ctx context.Context, r call, out any) (status int, err error) {
	target, err := c.target(r.path, r.query)
	if err != nil {
		return 0, err
	}
	var body []byte
	if r.body != nil {
		if body, err = json.Marshal(r.body); err != nil {
			return 0, provision.Errorf(provision.Invalid, "%s: %w", r.what, err)
		}
	}
	pause := cmp.Or(c.Pause, defPause)
	for try := 1; ; try++ {
		var after time.Duration
		status, after, err = c.once(ctx, r, target, body, out)
		if provision.ClassOf(err) != provision.Busy || r.once || try >= cmp.Or(c.Tries, defTries) || ctx.Err() != nil {
			return status, err
		}
		if !wait(ctx, min(max(pause, after), maxPause)) {
			return status, err
		}
		pause *= 2
	}
}

// wait reports whether ctx let it wait for d.
func wait(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// once sends the request one time. after is how long the server wants to be left alone.
func (c *Client) once(ctx context.Context, r call, target string, body []byte, out any) (status int, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, defTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(body))
	if err != nil {
		return 0, 0, provision.Errorf(provision.Invalid, "%s: %w", r.what, err)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	resp, err := c.client().Do(req)
	if err != nil {
		return 0, 0, lost(ctx, r.what, err)
	}
	defer resp.Body.Close()
	id := cmp.Or(resp.Header.Get("x-request-id"), resp.Header.Get("cf-ray"))
	if resp.StatusCode >= 300 {
		return resp.StatusCode, retryAfter(resp.Header), refused(r.what, id, resp)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return resp.StatusCode, 0, lost(ctx, r.what, err)
	case len(data) > maxAnswer:
		err = errors.New("the answer is too long")
	case out != nil:
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		// A proxy between us may have answered: it is not known what became of the request.
		return resp.StatusCode, 0, &provision.Error{Class: provision.Busy, RequestID: id,
			Text: fmt.Sprintf("%s: control plane answered %d with something else than was asked for: %v", r.what, resp.StatusCode, err), Err: err}
	}
	return resp.StatusCode, 0, nil
}

// client is c.HTTP without redirects.
func (c *Client) client() *http.Client {
	hc := http.Client{}
	if c.HTTP != nil {
		hc = *c.HTTP
	}
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &hc
}

// lost classifies an error of the connection.
func lost(ctx context.Context, what string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s: control plane: %w", what, context.Canceled)
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without the URL, which the operation names already
	}
	return &provision.Error{Class: provision.Busy, Text: fmt.Sprintf("%s: control plane: %v", what, err), Err: err,
		Next: "check CONTROL_PLANE_URL, and that the control plane is up; then run the same job again"}
}

// refused classifies an answer that is none of ours to decode, and takes over its words.
func refused(what, id string, resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxError)) // what there is of it will do
	var p struct {
		Detail string `json:"detail"`
		Errors []struct {
			Location string `json:"location"`
			Message  string `json:"message"`
		} `json:"errors"`
		Next string `json:"next_action"`
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	isJSON := strings.HasSuffix(kind, "json") && json.Unmarshal(data, &p) == nil
	words := p.Detail
	for _, e := range p.Errors {
		words += fmt.Sprintf("; %s %s", e.Location, e.Message)
	}
	e := &provision.Error{Class: class(resp.StatusCode), RequestID: id, Next: p.Next}
	switch {
	case resp.StatusCode < 400:
		e.Next = "check CONTROL_PLANE_URL: it redirects, and the key is not sent on"
	case resp.StatusCode == http.StatusNotFound && !isJSON:
		e.Class, e.Next = provision.Invalid, "check CONTROL_PLANE_URL: the host does not have this route"
	case e.Class == provision.Denied && e.Next == "":
		e.Next = "check INTERNAL_API_KEY: it has to be the control plane's"
	}
	e.Text = fmt.Sprintf("%s: control plane answered %d %s", what, resp.StatusCode, http.StatusText(resp.StatusCode))
	if words != "" {
		e.Text += ": " + oneLine(words)
	}
	return e
}

// class is the one place where a status becomes a class.
func class(status int) provision.Class {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return provision.Denied
	case status == http.StatusNotFound:
		return provision.NotFound
	case status == http.StatusConflict:
		return provision.Conflict
	case status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500:
		return provision.Busy
	}
	return provision.Invalid
}

// retryAfter reads the header in seconds; a date is left to the usual pause.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 || n > 3600 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// oneLine keeps a remote's words on one line, and short.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.ToValidUTF8(s[:min(len(s), 2000)], "")
}

// target makes the request's URL, with the path's parts escaped.
func (c *Client) target(path []string, query url.Values) (string, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", provision.Errorf(provision.Invalid, "CONTROL_PLANE_URL is not the URL of a host: it must look like https://cp.example.com")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return "", provision.Errorf(provision.Invalid, "CONTROL_PLANE_URL: the key is only sent over https, or to a loopback address, not to %s://%s", u.Scheme, u.Host)
	}
	for _, part := range path {
		// A path is cleaned on its way, so these would be another route.
		if part == "" || part == "." || part == ".." {
			return "", provision.Errorf(provision.Invalid, "%q cannot stand in a path", part)
		}
		u = u.JoinPath(url.PathEscape(part))
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() && net.ParseIP(host) != nil
}
