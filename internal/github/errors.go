package github

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	gh "github.com/google/go-github/v60/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// An AmbiguousError says that a run may have been started, although no answer says so:
// the connection broke, the time was up, the answer was a 5xx or no answer at all. To send
// the same again may start a second run.
type AmbiguousError struct{ Err error }

func (e *AmbiguousError) Error() string { return e.Err.Error() }
func (e *AmbiguousError) Unwrap() error { return e.Err }

// Ambiguous is true.
func (e *AmbiguousError) Ambiguous() bool { return true }

// A LimitError says that GitHub wants fewer requests, of whatever kind. Nothing was done.
type LimitError struct {
	Err error
	At  time.Time // when the limit ends; zero if GitHub has not said so: a minute at least, and longer each time
}

func (e *LimitError) Error() string { return e.Err.Error() }
func (e *LimitError) Unwrap() error { return e.Err }

// NotBefore is At.
func (e *LimitError) NotBefore() time.Time { return e.At }

// A RepeatError says that an older server has refused a question of ours, and with it the
// dispatch. Nothing was started. The same call, made again as a write of its own, does
// without the question.
type RepeatError struct{ Err error }

func (e *RepeatError) Error() string { return e.Err.Error() }
func (e *RepeatError) Unwrap() error { return e.Err }

// Repeat is true.
func (e *RepeatError) Repeat() bool { return true }

// classify says what a failed answer means for whoever asked. op is what was asked for;
// effect says that the request changes something, so that a lost answer is ambiguous.
// https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
func (w Workflow) classify(op string, a answer, effect bool) error {
	if e := (*provision.Error)(nil); errors.As(a.err, &e) {
		return a.err // nothing was sent
	}
	e := &provision.Error{Err: a.err, Class: provision.Internal, Text: op + ": " + words(a)}
	if a.status() > 0 {
		e.RequestID = a.resp.Header.Get("X-GitHub-Request-Id")
	}
	s := a.status()
	switch {
	case s == 0 && errors.Is(a.err, context.Canceled):
		e.Class = provision.Cancelled
	case s == 0, s >= 500, a.garbled:
		e.Class = provision.Busy
	case limited(a):
		now := time.Now()
		at := pause(a.resp.Header, now)
		e.Class, e.Next = provision.Busy, advice(at, now)
		return &LimitError{Err: e, At: at}
	case s >= 300 && s < 500:
		e.Class, e.Next = w.refused(a)
		return e
	default:
		return e
	}
	if effect && a.sent {
		e.Next = "a run may have been started: look for one that carries the job_id in its name before this is sent again"
		return &AmbiguousError{Err: e}
	}
	return e
}

// refusesRunDetails reports whether err is an older server's refusal of our question for
// the run's id, which comes before anything is started.
func refusesRunDetails(err error) bool {
	var r *gh.ErrorResponse
	return errors.As(err, &r) && r.Response.StatusCode/100 == 4 &&
		strings.Contains(r.Message, `"return_run_details" is not a permitted key`)
}

// words are GitHub's own, or what the network said.
func words(a answer) string {
	if a.status() == 0 {
		var u *url.Error
		if errors.As(a.err, &u) {
			return oneLine(u.Err.Error())
		}
		return oneLine(a.err.Error())
	}
	text := strconv.Itoa(a.status())
	if a.garbled {
		return text + " without the answer that belongs to it"
	}
	if message, _ := message(a.err); message != "" {
		text += " " + oneLine(message)
	}
	return text
}

// message returns what the body of a refusal says, and the page that it points at.
func message(err error) (text, page string) {
	switch e := err.(type) {
	case *gh.ErrorResponse:
		text = e.Message
		for _, more := range e.Errors {
			if more.Message != "" {
				text += ": " + more.Message
			}
		}
		return text, e.DocumentationURL
	case *gh.TwoFactorAuthError:
		return e.Message, e.DocumentationURL
	case *gh.RateLimitError:
		return e.Message, ""
	case *gh.AbuseRateLimitError:
		return e.Message, "secondary-rate-limits"
	}
	return "", ""
}

// oneLine makes text of unknown origin fit for a chain of errors.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if r := []rune(s); len(r) > 400 {
		s = string(r[:400]) + "…"
	}
	return s
}

// limited reports whether a refusal is about how often we ask, by any of its marks.
// https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
func limited(a answer) bool {
	s := a.status()
	if s == http.StatusTooManyRequests {
		return true
	}
	if s != http.StatusForbidden {
		return false
	}
	text, page := message(a.err)
	_, told := a.resp.Header["Retry-After"]
	return told || a.resp.Header.Get("X-RateLimit-Remaining") == "0" ||
		strings.Contains(text, "secondary rate limit") || strings.Contains(text, "abuse detection") || strings.Contains(page, "secondary-rate-limits")
}

// longest is how far in the future the end of a limit is believed to be.
const longest = 24 * time.Hour

// pause says until when GitHub wants us to be quiet: Retry-After, or the time of reset when
// nothing is left. It is zero where neither is told. The server's clock counts, not ours.
// https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
func pause(h http.Header, now time.Time) time.Time {
	until := func(d time.Duration) time.Time { return now.Add(min(max(d, time.Second), longest)) }
	there := serverTime(h, now)
	after := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseUint(after, 10, 31); err == nil {
		return until(time.Duration(s) * time.Second)
	}
	if t, err := http.ParseTime(after); err == nil {
		return until(t.Sub(there))
	}
	if t, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64); err == nil && h.Get("X-RateLimit-Remaining") == "0" {
		return until(time.Unix(t+1, 0).Sub(there)) // the second in which it resets still counts
	}
	return time.Time{}
}

// serverTime returns the time that an answer names, or else now.
func serverTime(h http.Header, now time.Time) time.Time {
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		return t
	}
	return now
}
