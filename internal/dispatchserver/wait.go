package dispatchserver

import (
	"context"
	"slices"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A waiter wants to know what becomes of a job: of that attempt, or of one that replaces it.
type waiter struct {
	attempt int
	word    chan verdict
}

// listen returns where a worker's word of a job comes, until stop is called.
func (s *Server) listen(job provision.Job) (word <-chan verdict, stop func()) {
	w := &waiter{max(1, job.Attempt), make(chan verdict, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiters[job.ID] = append(s.waiters[job.ID], w)
	return w.word, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waiters[job.ID] = slices.DeleteFunc(s.waiters[job.ID], func(o *waiter) bool { return o == w })
		if len(s.waiters[job.ID]) == 0 {
			delete(s.waiters, job.ID)
		}
	}
}

// lookTime is how often somebody who waits for a word looks into the ledger: a worker of
// another process may have the job.
const lookTime = 500 * time.Millisecond

// await waits for a worker's word, until it has waited enough.
func (s *Server) await(ctx context.Context, word <-chan verdict, job provision.Job) verdict {
	t := time.NewTimer(s.Wait)
	defer t.Stop()
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for {
		select {
		case v := <-word:
			return v
		case <-look.C:
			if record, err := s.Ledger.Load(ctx, job.ID); err == nil && has(record, job) {
				return verdict{done: true, result: dispatch.Result{Run: record.Run, Recorded: true}}
			}
			continue
		case <-t.C:
		case <-s.over:
		case <-ctx.Done():
		}
		return verdict{}
	}
}

// has reports whether the record of a job has the run of that attempt of it.
func has(r dispatch.Record, job provision.Job) bool {
	return r.State == dispatch.Done && max(1, job.Attempt) <= max(1, r.Attempt)
}

func (s *Server) awaited(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiters[id]) > 0
}

func (s *Server) tell(k dispatch.Kept, v verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waiters[k.Message.JobID] {
		if w.attempt > attempt(k) {
			continue
		}
		select {
		case w.word <- v:
		default: // it has heard something already
		}
	}
}
