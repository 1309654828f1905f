package cloudflare

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A problem is one entry of an envelope's errors or messages.
type problem struct {
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Chain   []problem `json:"error_chain,omitempty"`
}

// A refusal is an answer other than 200.
type refusal struct {
	status   int
	problems []problem
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %v", r.status, r.problems) }

func refuse(status, code int, message string, chain ...problem) error {
	return &refusal{status, []problem{{code, message, chain}}}
}

func asRefusal(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	return &refusal{http.StatusInternalServerError, []problem{{Code: 10013, Message: "An unknown error has occurred. Please contact support"}}}
}

// invalid is the vendor's error for a record that breaks a rule without a code of its own.
func invalid(code int, message string) error {
	return refuse(http.StatusBadRequest, 1004, "DNS Validation Error", problem{Code: code, Message: message})
}

func noRoute(path string) error {
	return refuse(http.StatusNotFound, 7003, "Could not route to "+path+", perhaps your object identifier is invalid?")
}

// limit counts a request. Who is over the limit is locked out for a whole window, and
// asking meanwhile does not make it longer.
// https://developers.cloudflare.com/fundamentals/api/reference/limits/
func (s *Server) limit(h http.Header) error {
	now := s.opts.Now()
	for len(s.asked) > 0 && !s.asked[0].Add(s.opts.RateWindow).After(now) {
		s.asked = s.asked[1:]
	}
	if now.After(s.locked) || now.Equal(s.locked) {
		if len(s.asked) < s.opts.RateLimit {
			s.asked = append(s.asked, now)
			left := s.opts.RateLimit - len(s.asked)
			reset := s.asked[0].Add(s.opts.RateWindow).Sub(now)
			h.Set("Ratelimit", fmt.Sprintf(`"default";r=%d;t=%d`, left, seconds(reset)))
			h.Set("Ratelimit-Policy", fmt.Sprintf(`"default";q=%d;w=%d`, s.opts.RateLimit, seconds(s.opts.RateWindow)))
			return nil
		}
		s.locked = now.Add(s.opts.RateWindow)
	}
	h.Set("Retry-After", strconv.Itoa(seconds(s.locked.Sub(now))))
	return refuse(http.StatusTooManyRequests, 971, "Please wait and consider throttling your request speed")
}

// seconds rounds d up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// authenticate checks the token, and says what it may do.
func (s *Server) authenticate(r *request) error {
	h := r.Header.Get("Authorization")
	token, ok := strings.CutPrefix(h, "Bearer ")
	switch {
	case h == "":
		return refuse(http.StatusBadRequest, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
	case !ok || token == "" || strings.ContainsAny(token, " \t"):
		return refuse(http.StatusBadRequest, 6003, "Invalid request headers",
			problem{Code: 6111, Message: "Invalid format for Authorization header"})
	case token == s.opts.Token:
		return nil
	case token == s.opts.ReadToken:
		r.readOnly = true
		return nil
	case strings.HasSuffix(r.URL.Path, "/user/tokens/verify"):
		return refuse(http.StatusUnauthorized, 1000, "Invalid API Token")
	}
	return refuse(http.StatusForbidden, 9109, "Invalid access token")
}

// forbidden is the answer to a token that lacks a permission.
func forbidden() error { return refuse(http.StatusForbidden, 10000, "Authentication error") }
