package dispatchserver

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// statuses is the one place where a class becomes an HTTP status. What GitHub denies us is
// no fault of the caller's.
var statuses = map[provision.Class]int{
	provision.Invalid:    http.StatusUnprocessableEntity,
	provision.Denied:     http.StatusServiceUnavailable,
	provision.NotFound:   http.StatusServiceUnavailable,
	provision.Conflict:   http.StatusConflict,
	provision.Busy:       http.StatusServiceUnavailable,
	provision.NoCapacity: http.StatusServiceUnavailable,
	provision.Cancelled:  http.StatusServiceUnavailable,
	provision.Internal:   http.StatusInternalServerError,
}

// A problem is an answer of application/problem+json (RFC 9457).
type problem struct {
	Status int             `json:"status"`
	Title  string          `json:"title"`
	Detail string          `json:"detail"`
	Errors []fieldProblem  `json:"errors,omitempty"`
	Class  provision.Class `json:"class,omitempty"`
	Next   string          `json:"next_action,omitempty"`
}

// A fieldProblem is one thing that is wrong with one field.
type fieldProblem struct {
	Location string `json:"location"` // "body.region"
	Message  string `json:"message"`
	Value    string `json:"value,omitempty"`
}

// A statusError is an error with a status that its class does not tell.
type statusError struct {
	status int
	after  time.Duration // Retry-After; 0 for none
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// problem answers with err. What is our own fault is logged, and not told.
func (s *Server) problem(w http.ResponseWriter, r *http.Request, err error) {
	class := provision.ClassOf(err)
	p := problem{Status: statuses[class], Detail: err.Error(), Class: class, Next: provision.NextAction(err)}
	for _, fe := range provision.FieldErrors(err) {
		p.Errors = append(p.Errors, fieldProblem{Location: "body." + fe.Field, Message: fe.Reason, Value: fe.Value})
	}
	after := time.Duration(0)
	if p.Status == http.StatusServiceUnavailable {
		after = 5 * time.Second
	}
	var se *statusError
	var later *dispatch.LaterError
	if errors.As(err, &se) {
		p.Status, after = se.status, se.after
	} else if errors.As(err, &later) && !later.At.IsZero() {
		after = time.Until(later.At)
	}
	if p.Status == http.StatusInternalServerError {
		s.Log.ErrorContext(r.Context(), "request failed", slog.String("request_id", w.Header().Get("x-request-id")), slog.Any("error", err))
		p.Detail, p.Next = "internal error; the log has it under this answer's x-request-id", ""
	}
	if after > 0 {
		w.Header().Set("Retry-After", seconds(after))
	}
	writeProblem(w, p)
}

// seconds is a time for Retry-After: whole seconds, 1 at least.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second)))
}

func writeProblem(w http.ResponseWriter, p problem) {
	p.Title = http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // a client that has gone away is its own affair
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a client that has gone away is its own affair
}
