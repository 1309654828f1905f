package cloudflare

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cloudflare/cloudflare-go"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// DefaultBaseURL is where Cloudflare's API is.
const DefaultBaseURL = "https://api.cloudflare.com/client/v4"

const defaultTimeout = 10 * time.Second

// terms are what a part of the API wants of its requests.
type terms struct {
	baseURL   string // empty for DefaultBaseURL
	token     string
	http      *http.Client // nil for one of the default settings
	timeout   time.Duration
	maxBody   int64
	perSecond float64 // requests
	denied    string  // advice for a refused token
}

// A link is one client of the vendor's, made at its first request. The zero link is ready.
type link struct {
	mu  sync.Mutex
	api *cloudflare.API
}

// client returns the vendor's client.
func (l *link) client(t terms) (*cloudflare.API, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.api != nil {
		return l.api, nil
	}
	h := http.Client{}
	if t.http != nil {
		h = *t.http
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	h.Transport = &keeper{next: h.Transport, max: t.maxBody}
	api, err := cloudflare.NewWithAPIToken(t.token,
		cloudflare.BaseURL(strings.TrimSuffix(cmp.Or(t.baseURL, DefaultBaseURL), "/")),
		cloudflare.HTTPClient(&h),
		cloudflare.UsingRetryPolicy(0, 0, 0),
		cloudflare.UsingRateLimit(t.perSecond),
		cloudflare.UserAgent("provision-tenant"),
	)
	if err != nil {
		return nil, provision.Errorf(provision.Denied, "Cloudflare API token: %w", err)
	}
	l.api = api
	return api, nil
}

// call makes one request and classifies how it ended. doing says what it is for.
func (l *link) call(ctx context.Context, t terms, doing string, request func(context.Context, *cloudflare.API) error) error {
	api, err := l.client(t)
	if err != nil {
		return err
	}
	a := &answer{}
	timeout := cmp.Or(t.timeout, defaultTimeout)
	limited, cancel := context.WithTimeout(context.WithValue(ctx, answerKey{}, a), timeout)
	defer cancel()
	err = request(limited, api)
	switch {
	case err == nil && a.ok():
		return nil
	case ctx.Err() != nil: // somebody stopped us, whatever came of the request
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	case a.status == 0 && limited.Err() != nil:
		return provision.Errorf(provision.Busy, "%s: no answer from Cloudflare within %s", doing, timeout)
	case a.status == 0:
		return noAnswer(doing, err)
	}
	return a.refused(doing, t.denied)
}

// noAnswer classifies a request whose answer did not come. Unless it cannot have been
// sent, it may have had its effect.
func noAnswer(doing string, err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without the address
	}
	class := provision.Busy
	if c := (*tls.CertificateVerificationError)(nil); errors.As(err, &c) {
		class = provision.Internal // it will be the same the next time
	}
	return provision.Errorf(class, "%s: no answer from Cloudflare: %w", doing, err)
}

// A keeper keeps each answer in the *answer of its request's context, with a bounded body.
type keeper struct {
	next http.RoundTripper // nil for the default
	max  int64             // bytes of a body
}

type answerKey struct{}

func (k *keeper) RoundTrip(r *http.Request) (*http.Response, error) {
	next := k.next
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, k.max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > k.max {
		return nil, fmt.Errorf("an answer of more than %d bytes", k.max)
	}
	if bytes.Equal(bytes.TrimSpace(body), []byte("null")) {
		body = nil // of which the client panics; it is no envelope anyway
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if a, ok := r.Context().Value(answerKey{}).(*answer); ok {
		a.status = resp.StatusCode
		a.ray = resp.Header.Get("Cf-Ray")
		a.retryAfter = resp.Header.Get("Retry-After")
		a.readable = json.Unmarshal(body, &a.envelope) == nil
	}
	return resp, nil
}

// checkID refuses what cannot be one of the vendor's ids: it becomes part of a path.
func checkID(what, id string) error {
	if id == "" || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return provision.Errorf(provision.Invalid, "Cloudflare %s id %.80q is not letters and digits", what, id)
	}
	return nil
}
