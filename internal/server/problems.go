package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

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
		p.Errors = append(p.Errors, detail(fe))
	}
	p.limit()
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
	if later := (*laterError)(nil); errors.As(err, &later) {
		return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {seconds(later.wait)}})
	}
	if class == provision.Busy || errors.As(err, new(*store.InFlightError)) {
		return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {"1"}})
	}
	return p
}

// seconds spells a Retry-After: whole seconds, and not too few.
func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

// detail is a field that is wrong, as Huma spells it.
func detail(fe *provision.FieldError) *huma.ErrorDetail {
	return &huma.ErrorDetail{Location: "body." + fe.Field, Message: fe.Reason, Value: fe.Value}
}

// details are the fields that are wrong, those that are not nil.
func details(list ...*provision.FieldError) (errs []error) {
	for _, fe := range list {
		if fe != nil {
			errs = append(errs, detail(fe))
		}
	}
	return errs
}

const (
	maxDetails = 100 // wrong fields that an answer names
	maxValue   = 256 // bytes of a value that it repeats
)

// limit keeps an answer from repeating what was sent: whoever sends a megabyte of wrong
// fields knows them.
func (p *problem) limit() {
	if more := len(p.Errors) - maxDetails; more > 0 {
		p.Errors = append(p.Errors[:maxDetails:maxDetails], &huma.ErrorDetail{Message: fmt.Sprintf("and %d more", more)})
	}
	for i, e := range p.Errors {
		short := *e
		switch v := e.Value.(type) {
		case map[string]any, []any:
			short.Value = nil
		case string:
			if len(v) > maxValue {
				short.Value = strings.ToValidUTF8(v[:maxValue], "") + "…"
			}
		}
		p.Errors[i] = &short
	}
}

// complete is a transformer: it gives what Huma itself refuses the form of our own problems.
func complete(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := &problem{ErrorModel: *m}
	switch {
	case m.Status == http.StatusUnauthorized:
		p.Class, p.Next = provision.Denied, "check INTERNAL_API_KEY: it has to be the control plane's"
	case m.Status == http.StatusTooManyRequests:
		p.Class, p.Next = provision.Busy, advice[provision.Busy]
	case m.Status < 500:
		p.Class, p.Next = provision.Invalid, advice[provision.Invalid]
	}
	p.limit()
	return p, nil
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
