package sqlstore

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

const (
	// workers is how many jobs are handed out at once by one process.
	workers = 10
	// handleTime is the most that a handle can take: a try to trigger, and its record.
	handleTime = 90 * time.Second
	// rescueTime is how long a job that a process has begun is left to it, on databases that
	// do not know when a process has gone.
	rescueTime = 100 * time.Second
	// pollTime is how often River looks for jobs where the database does not tell it.
	pollTime = 100 * time.Millisecond
	// stopTime is how long a handle is left alone at the end, and cancelTime how long it may
	// take when it has been cancelled.
	stopTime   = 2500 * time.Millisecond
	cancelTime = 1500 * time.Millisecond
	// againTime is how long a database is left alone after an error, at first, and
	// maxAgainTime the most that this grows to.
	againTime    = time.Second
	maxAgainTime = 30 * time.Second
	// maxPause is the most that the default pause grows to.
	maxPause = 5 * time.Minute
	// maxTries is never reached: who handles a job gives it up.
	maxTries = 10_000
)

// Args are what River is told of a job that is to be handed out: the one that is Pending
// in this attempt.
type Args struct {
	JobID   string `json:"job_id"`
	Attempt int    `json:"attempt"`
}

// Kind implements [river.JobArgs].
func (Args) Kind() string { return "trigger" }

// InsertOpts implements [river.JobArgsWithInsertOpts].
func (Args) InsertOpts() river.InsertOpts { return river.InsertOpts{MaxAttempts: maxTries} }

// Work implements [store.Store].
func (db *DB) Work(ctx context.Context, handle func(ctx context.Context, j store.Job, try int) error) error {
	w := &worker{db: db, stop: ctx, handle: handle, pauses: map[int64]time.Duration{}}
	config := &river.Config{
		CompletedJobRetentionPeriod: time.Hour, // provision_jobs and audit_logs have all that counts
		FetchCooldown:               10 * time.Millisecond,
		FetchPollInterval:           pollTime,
		JobTimeout:                  handleTime,
		Logger:                      slog.New(quiet{db.log.Handler()}),
		Queues:                      map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		RescueStuckJobsAfter:        rescueTime,
		Workers:                     river.NewWorkers(),
	}
	if err := river.AddWorkerSafely(config.Workers, w); err != nil {
		return db.classify("work", err)
	}
	for pause := againTime; ; pause = min(2*pause, maxAgainTime) {
		began := time.Now()
		err := db.classify("work", db.backend.Work(ctx, config, run))
		if ctx.Err() != nil {
			if errors.Is(err, ctx.Err()) {
				return nil // it was told to stop before it had begun
			}
			return err
		}
		// Whatever it was, a password that is changed or a disk that is full, passes some day.
		db.log.ErrorContext(ctx, "jobs are not handed out: will try again", slog.Any("error", err))
		if time.Since(began) > maxAgainTime {
			pause = againTime // it had worked meanwhile
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil
		}
	}
}

// ErrGone is the cause of the end of a context of which a process works that is taken for
// gone: what it has begun is handed out to others, and must end at once.
var ErrGone = errors.New("the jobs of this process are handed out to others")

// run lets the client work until ctx is done, and then waits for what is under way.
func run(ctx context.Context, c Client) error {
	lasting := context.WithoutCancel(ctx)
	if err := c.Start(lasting); err != nil {
		return err
	}
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), ErrGone) {
		soft, cancel := context.WithTimeout(lasting, stopTime)
		defer cancel()
		if c.Stop(soft) == nil {
			return nil
		}
	}
	hard, cancel := context.WithTimeout(lasting, cancelTime)
	defer cancel()
	return c.StopAndCancel(hard)
}

// A worker hands jobs to a function.
type worker struct {
	river.WorkerDefaults[Args]
	db     *DB
	stop   context.Context // done when no more jobs are wanted
	handle func(ctx context.Context, j store.Job, try int) error

	mu     sync.Mutex
	pauses map[int64]time.Duration // of River's jobs that are to be handed out again
}

// Work implements [river.Worker].
func (w *worker) Work(ctx context.Context, r *river.Job[Args]) error {
	wanted := func() (store.Job, bool, error) {
		j, err := w.db.Job(ctx, r.Args.JobID)
		return j, j.Status == provision.JobPending && j.Attempt == r.Args.Attempt, err
	}
	j, ok, err := wanted()
	switch {
	case provision.ClassOf(err) == provision.NotFound:
		return nil
	case err != nil:
		return err
	case !ok:
		return nil
	}
	err = w.handle(ctx, j, r.Attempt)
	if err == nil {
		_, still, err := wanted()
		if err == nil && still {
			err = errors.New("the job was neither dispatched nor abandoned")
		}
		return err
	}
	if w.stop.Err() != nil || errors.Is(ctx.Err(), context.Canceled) {
		return river.JobSnooze(0) // we were stopped, which says nothing of the job
	}
	if e := (*store.RetryError)(nil); errors.As(err, &e) {
		w.mu.Lock()
		w.pauses[r.ID] = e.After
		w.mu.Unlock()
	}
	return errors.Join(err, w.db.tried(ctx, r.Args, r.Attempt, err))
}

// NextRetry implements [river.Worker].
func (w *worker) NextRetry(r *river.Job[Args]) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	pause := w.pauses[r.ID]
	delete(w.pauses, r.ID)
	if pause <= 0 {
		pause = min(time.Second<<min(max(r.Attempt-1, 0), 10), maxPause)
	}
	return time.Now().Add(pause)
}

// tried notes why a job is not triggered yet.
func (db *DB) tried(ctx context.Context, a Args, try int, why error) error {
	return db.write(ctx, "try job "+a.JobID, func(ctx context.Context, t *turn) error {
		j, err := job(ctx, t, a.JobID)
		if err != nil || j.Status != provision.JobPending || j.Attempt != a.Attempt {
			return err
		}
		j.Tries, j.Error, j.ErrorClass = try, why.Error(), provision.ClassOf(why)
		return t.save(ctx, j)
	})
}

// quiet lets through what River cannot cope with by itself.
type quiet struct{ slog.Handler }

// Enabled implements [slog.Handler].
func (h quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelError && h.Handler.Enabled(ctx, l)
}

// WithAttrs implements [slog.Handler].
func (h quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{h.Handler.WithAttrs(attrs)} }

// WithGroup implements [slog.Handler].
func (h quiet) WithGroup(name string) slog.Handler { return quiet{h.Handler.WithGroup(name)} }
