package cloudflare

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pregoi/provision-tenant/internal/provision"
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

func (a *answer) ok() bool { return a.status/100 == 2 && a.readable && a.envelope.Success }

// refused classifies an answer that is not a plain success. denied is the advice for one
// that the token is not good enough for.
func (a *answer) refused(doing, denied string) error {
	e := &provision.Error{
		Class:     a.class(),
		Text:      doing + ": Cloudflare: " + a.words(),
		RequestID: clip(a.ray, 80),
		Err:       refusal{a},
	}
	switch e.Class {
	case provision.Denied:
		e.Next = denied
	case provision.Busy:
		now := time.Now()
		d, told := wait(a.retryAfter, now)
		if told {
			e.Next = fmt.Sprintf("wait %s, as Cloudflare asks, then run the same job again", d)
		}
		if a.limited() {
			return &LimitError{Err: e, At: a.until(now, d)}
		}
	}
	return e
}

// A LimitError says that Cloudflare wants fewer requests. Nothing was done.
type LimitError struct {
	Err error
	At  time.Time // when the limit ends; zero if that is not known
}

func (e *LimitError) Error() string { return e.Err.Error() }
func (e *LimitError) Unwrap() error { return e.Err }

// NotBefore is At.
func (e *LimitError) NotBefore() time.Time { return e.At }

// lockout is for how long Cloudflare answers nothing to who was over the limit of its API.
// https://developers.cloudflare.com/fundamentals/api/reference/limits/
const lockout = 5 * time.Minute

func (a *answer) limited() bool {
	return a.status == http.StatusTooManyRequests || a.has(971)
}

// until says when a limit ends, if Cloudflare asks for a wait of d, or does not ask: 0. A
// queue of its own limits (10250 to 10253) then does not say for how long.
func (a *answer) until(now time.Time, d time.Duration) time.Time {
	switch {
	case d > 0:
		return now.Add(d)
	case a.has(10250, 10251, 10252, 10253):
		return time.Time{}
	}
	return now.Add(lockout)
}

// class says what can be done about the answer. What Cloudflare's codes mean is, where it
// is documented at all, at https://developers.cloudflare.com/dns/manage-dns-records/ and
// https://developers.cloudflare.com/fundamentals/api/troubleshooting/, for queues at
// https://developers.cloudflare.com/queues/reference/error-codes/.
func (a *answer) class() provision.Class {
	switch {
	case a.limited(), a.status >= 500:
		return provision.Busy
	case a.has(81053, 81054, 81056, 81057, 81058, 81062): // a record of that name is in the way
		return provision.Conflict
	case a.has(81044, 7000, 7003, 1001, 10104): // no such record; no such zone; no such queue
		return provision.NotFound
	case a.has(10000, 9109, 9106, 9103, 6003, 10106), a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
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
