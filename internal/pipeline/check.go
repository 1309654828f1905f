package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// checkTime is how long all checks together may take. checkPause comes before one that was
// not answered is asked again, and doubles.
const (
	checkTime  = 20 * time.Second
	checkPause = 500 * time.Millisecond
)

// check calls the checks of the steps that are going to be done, side by side, and returns
// all that is wrong.
func (r *Run) check(ctx context.Context, o Options, t Tracer, steps []Step) error {
	if ctx.Err() != nil {
		return nil // the first step says so
	}
	limited, stop := context.WithTimeoutCause(ctx, checkTime, provision.Errorf(provision.Busy, "not answered within %v", checkTime))
	defer stop()
	errs, took := make([]error, len(steps)), make([]time.Duration, len(steps))
	var all sync.WaitGroup
	for i, s := range steps {
		if s.Check != nil && (o.Only == "" || o.Only == s.Name) {
			all.Go(func() {
				start := time.Now()
				errs[i] = patiently(limited, func() error { return s.Check(limited, r) })
				took[i] = time.Since(start)
			})
		}
	}
	all.Wait()
	var problems []error
	for i, s := range steps {
		err := errs[i]
		if err == nil || ctx.Err() != nil && len(problems) > 0 {
			continue // of what was stopped one is enough
		}
		if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			err = because(limited, err)
		}
		start := time.Now().Add(-took[i])
		r.emit(t, s.Name, provision.Started, "", start)
		r.emit(t, s.Name, provision.Failed, err.Error(), start)
		for _, p := range provision.Problems(err) {
			problems = append(problems, fmt.Errorf("%s: %w", s.Name, p))
		}
	}
	return provision.Join(problems...)
}

// patiently asks until it is answered, or ctx leaves no time to ask again.
func patiently(ctx context.Context, ask func() error) error {
	for pause := checkPause; ; pause *= 2 {
		err := ask()
		end, limited := ctx.Deadline()
		if provision.ClassOf(err) != provision.Busy || limited && time.Until(end) < pause || sleep(ctx, pause) != nil {
			return err
		}
	}
}
