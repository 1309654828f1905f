package github

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Limits are how often the API may be asked; 0 is GitHub's own number, less than 0 no limit.
// https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
type Limits struct {
	PerHour         int // requests, the primary limit: 5000
	WritesPerMinute int // requests that create something, a secondary limit: 80
	WritesPerHour   int // the same in an hour: 500
	PointsPerMinute int // a request that changes something is 5 points, another one: 900
	AtOnce          int // requests that are being answered: 100
	// QueuedIn10s is how many runs are queued in ten seconds: 500. What is more is accepted
	// and never heard of again.
	// https://docs.github.com/en/actions/reference/limits
	QueuedIn10s int
	// HideRetryAfter leaves Retry-After out of what a secondary limit answers, as GitHub
	// sometimes does.
	HideRetryAfter bool
	// Status429 answers 429 in place of 403, as GitHub may.
	Status429 bool
}

// Unlimited returns limits that are none.
func Unlimited() Limits {
	return Limits{PerHour: -1, WritesPerMinute: -1, WritesPerHour: -1, PointsPerMinute: -1, AtOnce: -1, QueuedIn10s: -1}
}

func (l Limits) orDefault() Limits {
	for _, d := range []struct {
		n    *int
		want int
	}{{&l.PerHour, 5000}, {&l.WritesPerMinute, 80}, {&l.WritesPerHour, 500}, {&l.PointsPerMinute, 900}, {&l.AtOnce, 100}, {&l.QueuedIn10s, 500}} {
		if *d.n == 0 {
			*d.n = d.want
		}
	}
	return l
}

// LimitStats are how the limits have been met so far.
type LimitStats struct {
	Answers int // requests that were refused because of a limit
	Early   int // requests that came before the end that such an answer had named
	Dropped int // dispatches that were accepted, and whose run was never queued
}

// LimitStats returns how often clients have met the limits.
func (s *Server) LimitStats() LimitStats {
	s.limits.mu.Lock()
	defer s.limits.mu.Unlock()
	return s.limits.stats
}

// A limiter counts requests against the limits.
type limiter struct {
	Limits
	mu     sync.Mutex
	stats  LimitStats
	used   int
	reset  time.Time // when used starts anew
	writes moments
	points moments
	inside int       // requests that are being answered
	quiet  time.Time // the end that the last refusal has named
}

// Moments are when something happened, the oldest first.
type moments []time.Time

// drop forgets what lies longer back than d.
func (w *moments) drop(now time.Time, d time.Duration) {
	n := 0
	for n < len(*w) && now.Sub((*w)[n]) >= d {
		n++
	}
	*w = (*w)[n:]
}

// wait returns how long the next has to wait so that no more than n lie within d; n less
// than 0 is no bound.
func (w moments) wait(n int, d time.Duration, now time.Time) time.Duration {
	switch {
	case n < 0 || len(w) < n:
		return 0
	case n == 0:
		return d
	}
	return d - now.Sub(w[len(w)-n])
}

func (l *limiter) enter() { l.count(1) }
func (l *limiter) leave() { l.count(-1) }

func (l *limiter) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside += n
}

// refund takes the last request back from the primary limit.
func (l *limiter) refund() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = max(0, l.used-1)
}

// admit counts a request, or refuses it.
func (l *limiter) admit(r *http.Request, now time.Time) answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.URL.Path == "/rate_limit" {
		return answer{}
	}
	if now.Before(l.quiet) {
		l.stats.Early++
	}
	l.roll(now)
	if l.PerHour >= 0 && l.used >= l.PerHour {
		return l.refuse("API rate limit exceeded for user ID 1.", l.reset)
	}
	l.used++
	wait := time.Duration(0)
	if l.AtOnce >= 0 && l.inside > l.AtOnce {
		wait = time.Minute
	}
	cost := 1
	write := r.Method != http.MethodGet && r.Method != http.MethodHead
	if write {
		cost = 5
		l.writes.drop(now, time.Hour)
		wait = max(wait, l.writes.wait(l.WritesPerMinute, time.Minute, now), l.writes.wait(l.WritesPerHour, time.Hour, now))
	}
	l.points.drop(now, time.Minute)
	if l.PointsPerMinute >= 0 {
		wait = max(wait, l.points.wait(max(0, l.PointsPerMinute-cost+1), time.Minute, now))
	}
	if wait > 0 {
		return l.secondary(now, wait)
	}
	if write && (l.WritesPerMinute >= 0 || l.WritesPerHour >= 0) {
		l.writes = append(l.writes, now)
	}
	for range cost {
		if l.PointsPerMinute >= 0 {
			l.points = append(l.points, now)
		}
	}
	return answer{}
}

// secondary refuses a request because of a secondary limit.
func (l *limiter) secondary(now time.Time, wait time.Duration) answer {
	seconds := int(wait/time.Second) + 1
	a := l.refuse("You have exceeded a secondary rate limit. Please wait a few minutes before you try again.", now.Add(time.Duration(seconds)*time.Second))
	a.body.(map[string]any)["documentation_url"] = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"
	if !l.HideRetryAfter {
		a.header = http.Header{"Retry-After": {strconv.Itoa(seconds)}}
	}
	return a
}

func (l *limiter) refuse(text string, until time.Time) answer {
	l.stats.Answers++
	if until.After(l.quiet) {
		l.quiet = until
	}
	if l.Status429 {
		return refusal(http.StatusTooManyRequests, "%s", text)
	}
	return refusal(http.StatusForbidden, "%s", text)
}

func (l *limiter) roll(now time.Time) {
	if !now.Before(l.reset) {
		l.used, l.reset = 0, now.Add(time.Hour)
	}
}

// state returns the primary limit as it stands.
func (l *limiter) state(now time.Time) map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roll(now)
	limit, used := l.PerHour, l.used
	if limit < 0 {
		limit, used = 5000, 0
	}
	return map[string]any{"limit": limit, "used": min(used, limit), "remaining": max(0, limit-used), "reset": l.reset.Unix()}
}

// mark puts the limit's state into the header of an answer.
func (l *limiter) mark(h http.Header, now time.Time) {
	for name, value := range l.state(now) {
		h.Set("X-RateLimit-"+name, fmt.Sprint(value))
	}
	h.Set("X-RateLimit-Resource", "core")
}

func (s *Server) getRateLimit(*http.Request) answer {
	rate := s.limits.state(s.opts.Now())
	return answer{status: http.StatusOK, body: map[string]any{
		"resources": map[string]any{"core": rate, "search": rate},
		"rate":      rate,
	}}
}

// requestID returns an id like those of X-GitHub-Request-Id.
func requestID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%X:%X:%X:%X", b[:2], b[2:5], b[5:8], b[8:])
}
