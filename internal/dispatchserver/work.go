package dispatchserver

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A verdict is what a worker has to say of a job.
type verdict struct {
	done   bool // the job has its run, or never will
	result dispatch.Result
	err    error
	again  time.Time // when a job that is not done is tried again
}

const (
	// claimTime keeps a job from the workers of other processes. It is renewed while it is
	// worked on, and is how long a job waits for another worker after a crash.
	claimTime = 12 * time.Second
	renewTime = 4 * time.Second
	// pollTime is how often the inbox is asked for what has become due.
	pollTime = 2 * time.Second
	// recordTime is how long it may take to store what came of a try.
	recordTime = 2 * time.Second
)

// work dispatches what is kept until ctx is done.
func (s *Server) work(ctx context.Context) {
	if s.Dispatch == nil {
		return
	}
	var wg sync.WaitGroup
	for range s.Workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if !s.next(ctx) {
					s.rest(ctx)
				}
			}
		})
	}
	wg.Wait()
}

// rest waits until there may be something to do.
func (s *Server) rest(ctx context.Context) {
	t := time.NewTimer(pollTime/2 + rand.N(pollTime))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-t.C:
	}
}

// notify tells a worker that something is kept.
func (s *Server) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// next dispatches one job that is due, and reports whether there was one.
func (s *Server) next(ctx context.Context) bool {
	now := time.Now()
	kept, ok, err := s.Inbox.Claim(ctx, now, now.Add(claimTime))
	if err != nil {
		if ctx.Err() == nil {
			s.Log.Error("claim a job", slog.Any("error", err))
		}
		return false
	}
	if !ok {
		return false
	}
	s.notify() // there may be more
	job, err := kept.Message.Job()
	if err != nil { // it was a job when it was kept
		s.end(ctx, kept, verdict{done: true, err: err})
		return true
	}
	renewing, stop := context.WithCancel(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		s.renew(renewing, kept)
	}()
	result, err := s.Dispatch(ctx, job)
	stop()
	<-renewed
	s.end(ctx, kept, s.judge(ctx, job, result, err))
	return true
}

// renew keeps the claim of a job alive until ctx ends.
func (s *Server) renew(ctx context.Context, k dispatch.Kept) {
	t := time.NewTicker(renewTime)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			if err := s.Inbox.Postpone(ctx, k, now.Add(claimTime)); err != nil && ctx.Err() == nil {
				s.Log.Warn("renew a claim", slog.String("job_id", k.Message.JobID), slog.Any("error", err))
			}
		}
	}
}

// judge says what becomes of a job.
func (s *Server) judge(ctx context.Context, job provision.Job, result dispatch.Result, err error) verdict {
	v := verdict{result: result, err: err}
	after := func(d time.Duration) verdict {
		v.again = time.Now().Add(d/2 + rand.N(d/2))
		return v
	}
	var later *dispatch.LaterError
	switch class := provision.ClassOf(err); {
	case err == nil:
		v.done = true
		return v
	case errors.As(err, &later) && later.At.After(time.Now()):
		v.again = later.At
		return v
	case ctx.Err() != nil && class != provision.Invalid && class != provision.Conflict:
		v.again = time.Now()
		return v
	case errors.As(err, &later), provision.Retryable(err):
		return after(20 * time.Second)
	case class == provision.Denied, class == provision.NotFound:
		return after(2 * time.Minute)
	case len(provision.FieldErrors(err)) > 0 && !s.awaited(job.ID):
		// The workflow does not declare what it says, and nobody is left to be told.
		return after(10 * time.Minute)
	}
	v.done = true
	return v
}

// end stores what becomes of a job, and tells those who wait for it. It is stored also
// when ctx has ended meanwhile.
func (s *Server) end(ctx context.Context, k dispatch.Kept, v verdict) {
	record, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	log := s.Log.With(slog.String("job_id", k.Message.JobID))
	var err error
	switch {
	case !v.done:
		err = s.Inbox.Postpone(record, k, v.again)
		log.Warn("not dispatched yet", slog.Time("again_at", v.again), slog.String("error", v.err.Error()), slog.String("next", provision.NextAction(v.err)))
	case v.err == nil:
		log.Info("run", slog.Int64("run_id", v.result.Run.ID), slog.Bool("recorded", v.result.Recorded), slog.String("url", v.result.Run.HTMLURL))
		err = s.Inbox.Drop(record, k)
	default:
		log.Error("refused", slog.String("error", v.err.Error()), slog.String("next", provision.NextAction(v.err)))
		if err = s.refuse(record, k, v.err); err == nil {
			err = s.Inbox.Drop(record, k)
		}
	}
	if err != nil { // the claim ends, and the ledger knows how it ended
		log.Error("record a dispatch", slog.Any("error", err))
	}
	s.tell(k, v)
}

// refuse records why a job can never become a run.
func (s *Server) refuse(ctx context.Context, k dispatch.Kept, why error) error {
	body, err := json.Marshal(k.Message)
	if err != nil {
		return err
	}
	id := "http:" + k.Message.JobID
	if k.Message.Attempt != "" {
		id += "#" + k.Message.Attempt
	}
	return s.Refusals.Refuse(ctx, dispatch.Refusal{MessageID: id, JobID: k.Message.JobID, At: time.Now().UTC(),
		Class: provision.ClassOf(why), Reason: why.Error(), Body: body})
}
