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
	// HideRetryAfter leaves Retry-After out of what a secondary limit answers, as GitHub
	// sometimes does.
	HideRetryAfter bool
}

func (l Limits) orDefault() Limits {
	for _, d := range []struct {
		n    *int
		want int
	}{{&l.PerHour, 5000}, {&l.WritesPerMinute, 80}, {&l.WritesPerHour, 500}} {
		if *d.n == 0 {
			*d.n = d.want
		}
	}
	return l
}

// A limiter counts requests against the limits.
type limiter struct {
	Limits
	mu     sync.Mutex
	used   int
	reset  time.Time // when used starts anew
	writes []time.Time
}

// admit counts a request, or refuses it.
func (l *limiter) admit(r *http.Request, now time.Time) answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.URL.Path == "/rate_limit" {
		return answer{}
	}
	l.roll(now)
	if l.PerHour >= 0 && l.used >= l.PerHour {
		return refusal(http.StatusForbidden, "API rate limit exceeded for user ID 1.")
	}
	l.used++
	if r.Method != http.MethodPost {
		return answer{}
	}
	for len(l.writes) > 0 && now.Sub(l.writes[0]) >= time.Hour {
		l.writes = l.writes[1:]
	}
	wait := until(l.writes, l.WritesPerMinute, time.Minute, now)
	wait = max(wait, until(l.writes, l.WritesPerHour, time.Hour, now))
	if wait <= 0 {
		l.writes = append(l.writes, now)
		return answer{}
	}
	a := refusal(http.StatusForbidden, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
	a.body.(map[string]any)["documentation_url"] = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"
	if !l.HideRetryAfter {
		a.header = http.Header{"Retry-After": {strconv.Itoa(int(wait/time.Second) + 1)}}
	}
	return a
}

// until returns how long a write has to wait so that no more than n lie within the window.
func until(writes []time.Time, n int, window time.Duration, now time.Time) time.Duration {
	if n < 0 || len(writes) < n {
		return 0
	}
	if n == 0 {
		return window
	}
	return window - now.Sub(writes[len(writes)-n])
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
	limit := l.PerHour
	if limit < 0 {
		limit = 5000
	}
	return map[string]any{"limit": limit, "used": min(l.used, limit), "remaining": max(0, limit-l.used), "reset": l.reset.Unix()}
}

// mark puts the limit's state into the header of an answer.
func (l *limiter) mark(h http.Header, now time.Time) {
	for name, value := range l.state(now) {
		h.Set("X-RateLimit-"+name, fmt.Sprint(value))
	}
	h.Set("X-RateLimit-Resource", "core")
}

func (s *Server) getRateLimit(*http.Request) answer {
	rate := s.limits.state(time.Now())
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
