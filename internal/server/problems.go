package server

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// statuses is the one place where a class becomes an HTTP status. Huma answers a body that
// is no JSON with 400, and one whose fields are wrong with 422, as Invalid is.
var statuses = map[provision.Class]int{
	provision.Invalid:    http.StatusUnprocessableEntity,
	provision.Denied:     http.StatusForbidden,
	provision.NotFound:   http.StatusNotFound,
	provision.Conflict:   http.StatusConflict,
	provision.Busy:       http.StatusServiceUnavailable,
	provision.NoCapacity: http.StatusServiceUnavailable,
	provision.Cancelled:  http.StatusServiceUnavailable,
	provision.Internal:   http.StatusInternalServerError,
}

// advice is what to do about a refused request where its error says nothing of its own; that
// of the class is for runs.
var advice = map[provision.Class]string{
	provision.Invalid:   "correct the request and send it again",
	provision.Busy:      "send the same again later",
	provision.Cancelled: "send the same again later",
}

// A problem is an answer of application/problem+json (RFC 9457).
type problem struct {
	huma.ErrorModel
	Class provision.Class `json:"class,omitempty"`
	Next  string          `json:"next_action,omitempty"`
	// Job is the one in the way, where a tenant has a job already.
	Job *jobRow `json:"job,omitempty"`
	// Decision is what it would be now, where another snapshot was expected.
	Decision *placement.Answer `json:"decision,omitempty"`
}

// problem makes an answer of err. What is our own fault is logged, and not told.
func (s *Server) problem(ctx context.Context, err error) error {
	class := provision.ClassOf(err)
	p := &problem{Class: class, Next: provision.NextAction(err)}
	if e := (*provision.Error)(nil); !errors.As(err, &e) || e.Next == "" {
		p.Next = cmp.Or(advice[class], p.Next)
	}
	p.Status = statuses[class]
	if bad := (*badRequest)(nil); errors.As(err, &bad) {
		p.Status = http.StatusBadRequest
	}
	p.Title = http.StatusText(p.Status)
	p.Detail = err.Error()
	for _, fe := range provision.FieldErrors(err) {
		p.Errors = append(p.Errors, &huma.ErrorDetail{Location: "body." + fe.Field, Message: fe.Reason, Value: fe.Value})
	}
	if active := (*store.ActiveJobError)(nil); errors.As(err, &active) {
		row := newJobRow(active.Job)
		p.Job = &row
	}
	if moved := (*store.MovedError)(nil); errors.As(err, &moved) {
		answer := moved.Decision.Answer(placement.DefaultCandidates)
		p.Decision = &answer
	}
	if class == provision.Internal {
		s.Log.ErrorContext(ctx, "request failed", slog.String("request_id", requestID(ctx)), slog.Any("error", err))
		p.Detail = "internal error; the log has it under this request's x-request-id"
		p.Next = ""
	}
	if class == provision.Busy || errors.As(err, new(*store.InFlightError)) {
		return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {"1"}})
	}
	return p
}

// fieldErrors is an Invalid error that names each wrong field; nil for none.
func fieldErrors(list ...*provision.FieldError) error {
	var errs []error
	for _, fe := range list {
		if fe != nil {
			errs = append(errs, fe)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	joined := errors.Join(errs...)
	return &provision.Error{Class: provision.Invalid, Text: "validation failed", Err: joined}
}
