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
	// triggerTime is how long one try to trigger a run may take.
	triggerTime = time.Minute
	// claimTime keeps a job from being triggered by two: longer than a try and its record.
	claimTime = triggerTime + 15*time.Second
	// recordTime is how long it may take to store what came of a try.
	recordTime = 10 * time.Second
	// maxTries is after how many tries a job is given up: about an hour, which is as long as
	// GitHub's primary limit can hold.
	maxTries = 20
	// pollTime is how often the store is asked for jobs that have become due, besides the
	// times that are known here.
	pollTime = 10 * time.Second
)

// Work triggers the runs of Pending jobs, those of before the start too, until ctx is done.
// The jobs themselves are the queue, so nothing is lost with the process.
func (s *Server) Work(ctx context.Context) {
	if s.Trigger == nil {
		return
	}
	for {
		wait := pollTime
		for {
			found, pause := s.triggerNext(ctx)
			if !found {
				break
			}
			if pause > 0 {
				wait = min(wait, pause)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-time.After(wait):
		}
	}
}

// triggerNext triggers one job that is due, and reports whether there was one, and after
// what pause the same job is due again; 0 when it is not.
func (s *Server) triggerNext(ctx context.Context) (found bool, again time.Duration) {
	now := s.now()
	j, ok, err := s.Store.Claim(ctx, now, now.Add(claimTime))
	if err != nil {
		if ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "claim a job", slog.Any("error", err))
		}
		return false, 0
	}
	if !ok {
		return false, 0
	}
	try, cancel := context.WithTimeout(ctx, triggerTime)
	runID, runURL, err := s.Trigger(try, j.Message())
	cancel()
	// What came of it is stored also when ctx was cancelled meanwhile.
	record, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	if err == nil {
		err = s.Store.Dispatched(record, j.ID, store.Run{ID: runID, URL: runURL}, s.now())
	} else {
		again, err = s.notTriggered(ctx, record, j, err)
	}
	if err != nil {
		s.Log.ErrorContext(ctx, "record a trigger", slog.String("job_id", j.ID), slog.Any("error", err))
	}
	return ctx.Err() == nil, again
}

// notTriggered decides what becomes of a job whose run could not be triggered, and after
// what pause it is tried again; 0 when it is not.
func (s *Server) notTriggered(ctx, record context.Context, j store.Job, why error) (again time.Duration, err error) {
	log := s.Log.With(slog.String("job_id", j.ID), slog.Int("try", j.Tries), slog.String("error", why.Error()))
	var lost interface{ Ambiguous() bool }
	switch {
	case errors.As(why, &lost) && lost.Ambiguous():
		log.WarnContext(ctx, "trigger: there may be a run")
		return 0, s.Store.Dispatched(record, j.ID, store.Run{Doubt: "its run may have started: " + why.Error()}, s.now())
	case ctx.Err() != nil: // we were stopped, which says nothing of the job
		return 0, s.Store.Postpone(record, j.ID, s.now(), "")
	case provision.Retryable(why) && j.Tries < maxTries:
		log.WarnContext(ctx, "trigger: will try again")
		again = pause(j.Tries)
		return again, s.Store.Postpone(record, j.ID, s.now().Add(again), why.Error())
	}
	log.ErrorContext(ctx, "trigger: given up")
	return 0, s.Store.Abandon(record, j.ID, provision.Errorf(provision.ClassOf(why), "its run could not be triggered: %w", why), s.now())
}

// pause is how long a job waits after so many tries: 1 s, doubled each time, up to 5 minutes.
func pause(tries int) time.Duration {
	return min(time.Second<<min(max(tries-1, 0), 10), 5*time.Minute)
}
