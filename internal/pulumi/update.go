package pulumi

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// repeat calls round until it succeeds, fails for good or there is no more time.
//
// Every round reads the stack anew: a lock that was waited for, a plan that the stack
// outran and a resource that was adopted all mean that what was read before is old.
func (s *session) repeat(ctx context.Context, round func() error) error {
	start := time.Now()
	for n := 0; ; n++ {
		err := round()
		f := failureOf(err)
		if f.again == never {
			return err
		}
		waited := time.Since(start)
		if waited >= s.p.wait() {
			return f.gaveUp(waited)
		}
		switch {
		case f.again == atOnce:
			continue
		case f.torn && s.cmd.mend():
			s.note("removed what a killed process had not written to its end in the backend")
			continue
		case f.again == unlocked && s.breakDead():
			s.note("removed the lock that a dead process had left on stack %s", s.label)
			continue
		case f.again == unlocked:
			s.p.tell(Progress{Doing: Waiting, Holder: f.holder, Elapsed: waited})
		}
		if err := s.pause(ctx, n, f); err != nil {
			return err
		}
	}
}

// converge brings the stack to hold the job's servers, and returns its outputs. It is
// done in rounds: see repeat.
func (s *session) converge(ctx context.Context) (map[string]any, error) {
	plan, err := s.plan(ctx, s.create)
	if err != nil {
		return nil, err
	}
	if len(plan.changes()) == 0 {
		if _, err := s.servers(ctx, plan.olds); err == nil {
			return plan.olds, nil
		}
	}
	adopted, err := s.adoptPending(ctx, plan)
	if err != nil {
		return nil, err
	}
	if adopted {
		return nil, s.moved()
	}
	up, err := s.up(ctx)
	s.done = merge(s.done, up.changes())
	s.unsure = up.unfinished(ctx.Err() != nil || s.cmd.last.late)
	if err != nil && ctx.Err() == nil && len(up.failed) > 0 && !s.tookOver {
		// A create that failed may have had its effect, and only its answer was lost; and
		// then its name is taken. Look once: what is not ours then is somebody's.
		adopted, aerr := s.adopt(ctx, up.failed)
		if aerr != nil {
			return nil, aerr
		}
		s.tookOver = true
		if adopted {
			return nil, s.moved()
		}
	}
	if err != nil && ctx.Err() == nil {
		err = s.elsewhere(up, err)
	}
	return up.outputs, err
}

// plan previews the update and judges it. A stack that is not there is made with create,
// with which plan mode goes elsewhere.
func (s *session) plan(ctx context.Context, create func(context.Context) error) (*report, error) {
	s.state = nil
	if !s.job.Dedicated {
		// The nodes of a shared stack have to be named before anything can be planned.
		err := s.export(ctx)
		if failureOf(err).missing {
			s.state, err = &state{}, create(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	plan, err := s.configureAndPreview(ctx)
	if failureOf(err).missing {
		if err := create(ctx); err != nil {
			return nil, err
		}
		plan, err = s.configureAndPreview(ctx)
	}
	// Even a preview that failed may have shown a reason not to go on, and a better one.
	if refused := s.guard(plan); refused != nil {
		return nil, refused
	}
	return plan, err
}

func (s *session) configureAndPreview(ctx context.Context) (*report, error) {
	if err := s.configure(ctx); err != nil {
		return &report{}, err
	}
	return s.preview(ctx)
}

// failed returns what had been done before err happened, and adds it to err's text; there
// also what had been begun. Of that only what has an id is certain to exist.
func (s *session) failed(err error) (provision.StackResult, error) {
	result := provision.StackResult{Changes: s.done}
	var done, unsure []string
	for _, c := range s.done {
		done = append(done, c.Type+" "+c.Name)
	}
	for _, m := range s.unsure {
		name := m.Type + " " + nameOf(m.URN)
		if m.New.ID != "" {
			name += " (id " + m.New.ID + ")"
			c, _ := change(m)
			result.Changes = merge(result.Changes, []provision.Change{c})
		}
		unsure = append(unsure, name)
	}
	e := (*provision.Error)(nil)
	if len(done)+len(unsure) == 0 || !errors.As(err, &e) {
		return result, err
	}
	with := *e
	if len(done) > 0 {
		with.Text += "; done before that, and kept: " + strings.Join(done, ", ")
	}
	if len(unsure) > 0 {
		with.Text += "; may exist: " + strings.Join(unsure, ", ")
	}
	return result, &with
}

// pause waits before the next round, longer each time; where the lock is a file on this
// machine, only until that is gone.
func (s *session) pause(ctx context.Context, n int, f *failure) error {
	longest := 5 * time.Second
	if f.again == unlocked && f.lockFile == "" {
		longest = 30 * time.Second // Pulumi's service: a dead holder's lease ends after 5 minutes
	}
	d := min(250*time.Millisecond<<min(n, 8), longest)
	d += rand.N(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.stopped(ctx)
		case <-timer.C:
			return nil
		case <-look.C:
			if _, err := os.Stat(f.lockFile); f.lockFile != "" && os.IsNotExist(err) {
				return nil
			}
		}
	}
}

// merge appends to done the changes that it does not name yet.
func merge(done, more []provision.Change) []provision.Change {
	seen := map[string]bool{}
	for _, c := range done {
		seen[c.Type+c.Name] = true
	}
	for _, c := range more {
		if !seen[c.Type+c.Name] {
			done = append(done, c)
		}
	}
	return done
}
