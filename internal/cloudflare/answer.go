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
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cloudflare/cloudflare-go"

	"github.com/pregoi/provision-tenant/internal/provision"
)

const (
	defaultTimeout = 10 * time.Second
	maxBody        = 4 << 20 // a page of 100 records takes about 60 KiB
)

// An answer is what Cloudflare said to one request.
type answer struct {
	status     int // 0: nothing
	ray        string
	retryAfter string
	envelope   struct {
		Success bool      `json:"success"`
		Errors  []problem `json:"errors"`
	}
	readable bool // the body was an envelope
}

// A problem is one entry of an envelope's errors.
type problem struct {
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Chain   []problem `json:"error_chain"`
}

// A keeper keeps each answer in the *answer of its request's context, with a bounded body.
type keeper struct {
	next http.RoundTripper // nil for the default
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
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("an answer of more than %d bytes", maxBody)
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

// call makes one request and classifies how it ended. doing says what it is for.
func (z *Zone) call(ctx context.Context, doing string, request func(context.Context, *cloudflare.API) error) error {
	api, err := z.client()
	if err != nil {
		return err
	}
	a := &answer{}
	timeout := cmp.Or(z.Timeout, defaultTimeout)
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
	return a.refused(doing)
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

func (a *answer) ok() bool { return a.status/100 == 2 && a.readable && a.envelope.Success }

// refused classifies an answer that is not a plain success.
func (a *answer) refused(doing string) *provision.Error {
	e := &provision.Error{
		Class:     a.class(),
		Text:      doing + ": Cloudflare: " + a.words(),
		RequestID: clip(a.ray, 80),
		Err:       refusal{a},
	}
	switch e.Class {
	case provision.Denied:
		e.Next = "check that the Cloudflare API token is right, that it has Zone:Read and DNS:Edit for this zone, and that the zone's id is this zone's"
	case provision.Busy:
		if d, ok := wait(a.retryAfter, time.Now()); ok {
			e.Next = fmt.Sprintf("wait %s, as Cloudflare asks, then run the same job again", d)
		}
	}
	return e
}

// class says what can be done about the answer. What Cloudflare's codes mean is, where it
// is documented at all, at https://developers.cloudflare.com/dns/manage-dns-records/ and
// https://developers.cloudflare.com/fundamentals/api/troubleshooting/.
func (a *answer) class() provision.Class {
	switch {
	case a.status == http.StatusTooManyRequests, a.has(971):
		return provision.Busy
	case a.status >= 500:
		return provision.Busy
	case a.has(81053, 81054, 81056, 81057, 81058, 81062): // a record of that name is in the way
		return provision.Conflict
	case a.has(81044, 7000, 7003, 1001): // no such record; no such zone
		return provision.NotFound
	case a.has(10000, 9109, 9106, 9103, 6003), a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return provision.Denied
	case a.status == http.StatusNotFound:
		return provision.NotFound
	case a.status >= 400:
		return provision.Invalid
	case a.status >= 300: // a redirect, which is not followed
		return provision.Internal
	case !a.readable, a.envelope.Success:
		return provision.Busy // cut off, or somebody else's page: what it did is not known
	}
	return provision.Internal // a refusal without a code that says why
}

// has reports whether the answer gives one of the codes as a reason.
func (a *answer) has(codes ...int) bool {
	return slices.ContainsFunc(a.envelope.Errors, func(p problem) bool {
		return slices.Contains(codes, p.Code) || slices.ContainsFunc(p.Chain, func(p problem) bool { return slices.Contains(codes, p.Code) })
	})
}

// words are Cloudflare's own.
func (a *answer) words() string {
	var list []string
	var add func(p problem)
	add = func(p problem) {
		if len(list) < 8 {
			list = append(list, fmt.Sprintf("%s (%d)", strings.TrimSuffix(p.Message, "."), p.Code))
			for _, next := range p.Chain {
				add(next)
			}
		}
	}
	for _, p := range a.envelope.Errors {
		add(p)
	}
	switch {
	case len(list) > 0:
		return clip(strings.Join(list, ", "), 400)
	case a.status/100 == 2:
		return fmt.Sprintf("an answer that cannot be read (HTTP %d)", a.status)
	}
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", a.status, strings.ToLower(http.StatusText(a.status))))
}

// wait reads a Retry-After, which is a number of seconds or a date. What is absurd is cut
// to between a second and an hour.
func wait(s string, now time.Time) (time.Duration, bool) {
	d := time.Duration(0)
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		d = at.Sub(now).Round(time.Second)
	} else {
		return 0, false
	}
	return min(max(d, time.Second), time.Hour), true
}

// A refusal is an answer as the cause of an error.
type refusal struct{ *answer }

func (r refusal) Error() string { return r.words() }

// recordGone reports whether err says that there is no such record, as opposed to no such
// zone.
func recordGone(err error) bool {
	var r refusal
	return errors.As(err, &r) && r.has(81044)
}

// clip returns s on one line and at most n bytes long.
func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
