package server

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// EventFields are a [provision.Event] on its way in. All are optional to the decoder, since
// a body may hold a list in their place; see missing.
type EventFields struct {
	EventID    string           `json:"event_id,omitempty" maxLength:"512"`
	TraceID    string           `json:"trace_id,omitempty" doc:"one that has not the shape of a trace_id is dropped, and the event kept under its job"`
	JobID      string           `json:"job_id,omitempty" maxLength:"128"`
	TenantID   string           `json:"tenant_id,omitempty" maxLength:"128"`
	Stage      string           `json:"stage,omitempty" maxLength:"64"`
	Status     provision.Status `json:"status,omitempty" enum:"started,succeeded,failed,skipped"`
	Message    string           `json:"message,omitempty" maxLength:"16384"`
	Attempt    int              `json:"attempt,omitempty" minimum:"0" maximum:"1000000"`
	At         time.Time        `json:"at,omitzero"`
	DurationMS int64            `json:"duration_ms,omitempty" minimum:"0"`
	RunURL     string           `json:"run_url,omitempty" maxLength:"2048"`
}

type eventsInput struct {
	Body struct {
		EventFields
		Events []EventFields `json:"events,omitempty" maxItems:"500" doc:"in place of the one event"`
	}
}

type eventsOutput struct {
	Body struct {
		Stored   int `json:"stored"`
		Repeated int `json:"repeated" doc:"events that were stored before"`
	}
}

func (s *Server) addEvents(ctx context.Context, in *eventsInput) (*eventsOutput, error) {
	list := in.Body.Events
	path := func(i int) string { return fmt.Sprintf("events[%d].", i) }
	switch {
	case list != nil && in.Body.EventFields != EventFields{}:
		return nil, provision.Errorf(provision.Invalid, "there are both events and one beside them: put it among them")
	case list == nil:
		list, path = []EventFields{in.Body.EventFields}, func(int) string { return "" }
	}
	var wrong []*provision.FieldError
	events := make([]provision.Event, len(list))
	for i, f := range list {
		wrong = append(wrong, f.missing(path(i))...)
		f.TraceID = strings.TrimSpace(f.TraceID)
		if !provision.ValidTraceID(f.TraceID) {
			f.TraceID = ""
		}
		f.Attempt = cmp.Or(f.Attempt, 1)
		f.At = f.At.UTC()
		events[i] = provision.Event{ID: f.EventID, TraceID: f.TraceID, JobID: f.JobID, TenantID: f.TenantID, Stage: f.Stage,
			Status: f.Status, Message: f.Message, Attempt: f.Attempt, At: f.At, DurationMS: f.DurationMS, RunURL: f.RunURL}
	}
	if err := fieldErrors(wrong...); err != nil {
		return nil, err
	}
	added, err := s.Store.AddEvents(ctx, events, s.now())
	if err != nil {
		return nil, err
	}
	out := &eventsOutput{}
	out.Body.Stored, out.Body.Repeated = added, len(events)-added
	return out, nil
}

// missing names the fields that every event must have, and this one has not.
func (f EventFields) missing(path string) []*provision.FieldError {
	var list []*provision.FieldError
	for _, field := range []struct{ name, value string }{
		{"event_id", f.EventID}, {"job_id", f.JobID}, {"tenant_id", f.TenantID}, {"stage", f.Stage}, {"status", string(f.Status)},
	} {
		if field.value == "" {
			list = append(list, &provision.FieldError{Field: path + field.name, Reason: "is required"})
		}
	}
	// The years that nanoseconds in an int64 can say.
	if y := f.At.Year(); y < 1970 || y > 2200 {
		list = append(list, &provision.FieldError{Field: path + "at", Reason: "is required, and must be a time of our days"})
	}
	return list
}

// PageFields choose a page of events: what a run that has lost its way has sent is not
// answered in one piece.
type PageFields struct {
	Limit int `query:"limit" default:"1000" minimum:"1" maximum:"1000"`
	Skip  int `query:"offset" minimum:"0" maximum:"1000000000" doc:"how many events to leave out, from the first"`
}

type traceInput struct {
	TraceID string `path:"trace_id" pattern:"^trace_" maxLength:"128"`
	PageFields
}

type traceOutput struct {
	Body struct {
		TraceID string            `json:"trace_id,omitempty"`
		JobID   string            `json:"job_id,omitempty"`
		Job     *jobRow           `json:"job,omitempty"`
		Events  []provision.Event `json:"events"`
		Total   int               `json:"total" doc:"how many events there are; the next ones are at offset"`
	}
}

func (s *Server) trace(ctx context.Context, in *traceInput) (*traceOutput, error) {
	return s.traceDetail(ctx, &detailInput{TraceID: in.TraceID, PageFields: in.PageFields})
}

type detailInput struct {
	JobID   string `query:"job_id" maxLength:"128"`
	TraceID string `query:"trace_id" maxLength:"128"`
	PageFields
}

// traceDetail answers the events of a job, also those without a trace, or those of a trace.
func (s *Server) traceDetail(ctx context.Context, in *detailInput) (*traceOutput, error) {
	out := &traceOutput{}
	out.Body.TraceID, out.Body.JobID = in.TraceID, in.JobID
	page := store.Page{Limit: in.Limit, Skip: in.Skip}
	var list []provision.Event
	var err error
	switch {
	case (in.JobID == "") == (in.TraceID == ""):
		return nil, provision.Errorf(provision.Invalid, "give either job_id or trace_id")
	case in.JobID != "":
		list, out.Body.Total, err = s.Store.JobEvents(ctx, in.JobID, page)
	default:
		list, out.Body.Total, err = s.Store.TraceEvents(ctx, in.TraceID, page)
	}
	if err != nil {
		return nil, err
	}
	out.Body.Events = append([]provision.Event{}, list...) // [] and not null
	id := in.JobID
	if id == "" && len(list) > 0 {
		id = list[0].JobID
	}
	// Of a run that was started by hand there are events, and no job.
	j, err := s.Store.Job(ctx, id)
	switch {
	case err == nil:
		row := newJobRow(j)
		out.Body.Job = &row
		out.Body.JobID, out.Body.TraceID = j.ID, cmp.Or(in.TraceID, j.TraceID)
	case provision.ClassOf(err) != provision.NotFound:
		return nil, err
	case out.Body.Total == 0 && in.JobID != "":
		return nil, err
	}
	return out, nil
}
