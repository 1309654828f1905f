package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

const (
	// triggerTime is how long one try to trigger a run may take. With its record it has to end
	// before the store takes the job for abandoned.
	triggerTime = time.Minute
	// recordTime is how long it may take to store what came of a try.
	recordTime = 5 * time.Second
	// maxTries is after how many tries a job is given up: about a day, by pause.
	maxTries = 300
)

// work triggers the runs of Pending jobs, those of before the start too, until ctx is done.
// What is under way then is recorded until last is.
func (s *Server) work(ctx, last context.Context) {
	if s.Trigger == nil {
		return
	}
	err := s.Store.Work(ctx, func(ctx context.Context, j store.Job, try int) error {
		return s.trigger(ctx, last, j, try)
	})
	if err != nil && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, "hand out jobs", slog.Any("error", err))
	}
}

// trigger starts the run of j, and records what came of it. Its error is why j shall be
// handed out again.
func (s *Server) trigger(ctx, last context.Context, j store.Job, try int) error {
	limited, cancel := context.WithTimeout(ctx, triggerTime)
	runID, runURL, err := s.Trigger(limited, j.Job, j.Attempt)
	cancel()
	// What came of it is stored also when ctx was cancelled meanwhile.
	record, cancel := context.WithTimeout(last, recordTime)
	defer cancel()
	if err != nil {
		return s.notTriggered(ctx, record, j, try, err)
	}
	s.metrics.triggers.WithLabelValues("dispatched").Inc()
	return s.recorded(j, s.Store.Dispatched(record, j.ID, store.Run{ID: runID, URL: runURL, Attempt: j.Attempt}, s.now()))
}

// recorded is err, logged. The job is handed out again: its run is known by then to whoever
// starts it.
func (s *Server) recorded(j store.Job, err error) error {
	if err != nil {
		s.Log.Error("record a trigger", slog.String("job_id", j.ID), slog.Any("error", err))
	}
	return err
}

// notTriggered decides what becomes of a job whose run could not be triggered.
func (s *Server) notTriggered(ctx, record context.Context, j store.Job, try int, why error) error {
	log := s.Log.With(slog.String("job_id", j.ID), slog.Int("attempt", j.Attempt), slog.Int("try", try), slog.String("error", why.Error()))
	var lost interface{ Ambiguous() bool }
	maybe := errors.As(why, &lost) && lost.Ambiguous()
	switch {
	case ctx.Err() != nil: // we were stopped, which says nothing of the job
		return ctx.Err()
	case (maybe || provision.Retryable(why)) && try < maxTries:
		s.metrics.triggers.WithLabelValues("again").Inc()
		after := pause(try)
		var at interface{ NotBefore() time.Time }
		if errors.As(why, &at) {
			after = max(after, at.NotBefore().Sub(s.now()))
		}
		log.WarnContext(ctx, "trigger: will try again", slog.Duration("after", after))
		return &store.RetryError{After: after, Err: why}
	case maybe:
		s.metrics.triggers.WithLabelValues("doubtful").Inc()
		log.WarnContext(ctx, "trigger: there may be a run, which the sweeper will look for")
		return s.recorded(j, s.Store.Dispatched(record, j.ID, store.Run{Attempt: j.Attempt, Doubt: "its run may have started: " + why.Error()}, s.now()))
	}
	s.metrics.triggers.WithLabelValues("abandoned").Inc()
	log.ErrorContext(ctx, "trigger: given up")
	err := &provision.Error{Class: provision.ClassOf(why), Text: "its run could not be triggered: " + why.Error(), Next: provision.NextAction(why), Err: why}
	return s.recorded(j, s.Store.Abandon(record, j.ID, err, s.now()))
}

// pause is how long a job waits after so many tries: 1 s, doubled each time, up to 5 minutes.
func pause(tries int) time.Duration {
	return min(time.Second<<min(max(tries-1, 0), 10), 5*time.Minute)
}
