package dispatchserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// An answer is what has become of a job.
type answer struct {
	JobID    string `json:"job_id"`
	Outcome  string `json:"outcome"` // an Outcome, or queued
	Recorded bool   `json:"recorded,omitempty"`
	*dispatch.Run
	Reason  string     `json:"reason,omitempty"`   // why there is no run yet
	RetryAt *time.Time `json:"retry_at,omitempty"` // when it is tried again
}

// queued is the outcome of a job that is kept.
const queued = "queued"

// dispatch takes a message: 200 with the run, or 202 when that will take longer.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) error {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, provision.MaxMessageBytes))
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		return &statusError{http.StatusRequestEntityTooLarge, 0,
			provision.Errorf(provision.Invalid, "the message is longer than the %d bytes that a queue carries", tooLong.Limit)}
	} else if err != nil {
		return provision.Errorf(provision.Invalid, "the message could not be read")
	}
	job, err := provision.ParseMessage(data, s.AllowUnknown)
	if err != nil {
		return err
	}
	ctx := r.Context()
	record, err := s.Ledger.Load(ctx, job.ID)
	if err != nil {
		return err
	}
	switch {
	case record.Version > 0 && record.Hash != dispatch.Fingerprint(job):
		return contradicts()
	case has(record, job):
		writeJSON(w, http.StatusOK, answerOf(job.ID, dispatch.Result{Run: record.Run, Recorded: true}))
		return nil
	}
	word, stop := s.listen(job) // before a worker can have said it
	defer stop()
	if err := s.keep(ctx, job); err != nil {
		return err
	}
	v := s.await(ctx, word, job)
	switch {
	case v.err == nil && v.done:
		writeJSON(w, http.StatusOK, answerOf(job.ID, v.result))
	case v.done:
		return v.err
	default:
		a := answer{JobID: job.ID, Outcome: queued}
		if v.err != nil {
			a.Reason = v.err.Error()
		}
		if !v.again.IsZero() {
			at := v.again.UTC()
			a.RetryAt = &at
			w.Header().Set("Retry-After", seconds(time.Until(at)))
		}
		w.Header().Set("Location", "/jobs/"+job.ID)
		writeJSON(w, http.StatusAccepted, a)
	}
	return nil
}

func contradicts() error {
	return &provision.Error{Class: provision.Conflict, Text: "another message had the same job_id and other content",
		Next: "give each order a job_id of its own; nothing was sent for this message"}
}

func answerOf(id string, result dispatch.Result) answer {
	return answer{JobID: id, Outcome: string(dispatch.OutcomeOf(result.Run, nil)), Recorded: result.Recorded, Run: &result.Run}
}

// keep puts a job on the disk, and wakes a worker.
func (s *Server) keep(ctx context.Context, job provision.Job) error {
	n, err := s.Inbox.Waiting(ctx)
	if err != nil {
		return err
	}
	if n >= s.MaxKept {
		return &statusError{http.StatusTooManyRequests, time.Minute,
			provision.Errorf(provision.Busy, "%d messages wait to be sent already", n)}
	}
	kept, err := s.Inbox.Keep(ctx, dispatch.Kept{Message: job.Message(), Due: time.Now()})
	if err != nil {
		return err
	}
	if was, err := kept.Message.Job(); err != nil || dispatch.Fingerprint(was) != dispatch.Fingerprint(job) {
		return contradicts()
	}
	s.notify()
	return nil
}

// A jobView is what GET /jobs/{job_id} answers.
type jobView struct {
	JobID  string              `json:"job_id"`
	Queued *queuedView         `json:"queued,omitempty"` // present while it waits here
	Record *dispatch.Status    `json:"record,omitempty"` // present once a request was considered
	Limits *dispatch.PaceState `json:"limits"`
}

type queuedView struct {
	Attempt int       `json:"attempt"` // from 1
	Due     time.Time `json:"due"`     // when it is looked at next
}

// job answers what is known of a job.
func (s *Server) job(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("job_id")
	record, err := s.Ledger.Load(r.Context(), id)
	if err != nil {
		return err
	}
	limits := s.Limits(r.Context())
	v := jobView{JobID: id, Limits: &limits}
	if record.Version > 0 {
		status := record.Status()
		v.Record = &status
	}
	if s.Inbox != nil {
		kept, ok, err := s.Inbox.Find(r.Context(), id)
		if err != nil {
			return err
		}
		if ok {
			v.Queued = &queuedView{Attempt: attempt(kept), Due: kept.Due.UTC()}
		}
	}
	if v.Record == nil && v.Queued == nil {
		return &statusError{http.StatusNotFound, 0, provision.Errorf(provision.NotFound, "there is no job of this id")}
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// attempt is which attempt of its job is kept, from 1.
func attempt(k dispatch.Kept) int {
	n, err := strconv.Atoi(k.Message.Attempt)
	if err != nil {
		return 1
	}
	return max(1, n)
}

// refusals answers the latest messages that can never become a run.
func (s *Server) refusals(w http.ResponseWriter, r *http.Request) error {
	limit := 100
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return provision.Errorf(provision.Invalid, "limit is not a number from 1 to 1000")
		}
		limit = n
	}
	list, err := s.Refusals.Refusals(r.Context(), limit)
	if err != nil {
		return err
	}
	if list == nil {
		list = []dispatch.Refusal{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"refusals": list})
	return nil
}

// readyTime is how long it may take to find out whether we are ready.
const readyTime = 5 * time.Second

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.over:
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "stopping"})
		return
	default:
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTime)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "class": string(provision.ClassOf(err)),
			"reason": err.Error(), "next_action": provision.NextAction(err)})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}
