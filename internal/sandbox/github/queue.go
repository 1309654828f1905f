package github

import (
	"slices"
	"time"
)

// maxPending is how many runs of one group wait under queue: max.
const maxPending = 100

// A group is a concurrency group: one run under way, and those that wait for it.
type group struct {
	running *run
	pending []*run
}

// enqueue makes attempt n of r and starts it, or lets it wait for its group. The caller
// holds the mutex, as it does for everything below.
// https://docs.github.com/en/actions/concepts/workflows-and-actions/concurrency
func (s *Server) enqueue(r *run, n int) {
	r.attempt = s.newAttempt(n)
	if s.opts.Runner == RunnerInstant {
		r.attempt.conclude("success")
		return
	}
	if r.group == "" {
		s.launch(r)
		return
	}
	g := s.groups[r.group]
	if g == nil {
		g = &group{}
		s.groups[r.group] = g
	}
	if g.running == nil {
		g.running = r
		s.launch(r)
		return
	}
	switch {
	case r.cancels:
		s.cancel(g.running)
		s.supersede(g)
	case r.def.concurrency.queue != "max":
		s.supersede(g)
	case len(g.pending) >= maxPending:
		s.conclude(r, "cancelled")
		return
	}
	r.attempt.status = "pending"
	g.pending = append(g.pending, r)
}

// supersede cancels what waits in g, because a newer run takes its place.
func (s *Server) supersede(g *group) {
	for _, r := range g.pending {
		r.attempt.journal.note("error", "Canceling since a higher priority waiting request for "+r.group+" exists")
		s.conclude(r, "cancelled")
	}
	g.pending = nil
}

// newAttempt returns an attempt that is queued. Without a runner it has no more than a
// place for its end.
func (s *Server) newAttempt(n int) *attempt {
	a := &attempt{n: n, status: "queued", journal: &journal{}}
	switch s.opts.Runner {
	case RunnerInstant:
		a.done = s.over
	case RunnerAway:
		a.done = make(chan struct{})
	default:
		a.journal = newJournal(s.secretValues())
		a.stop, a.hard, a.done = make(chan struct{}), make(chan struct{}), make(chan struct{})
	}
	return a
}

func (s *Server) launch(r *run) {
	r.attempt.status = "queued"
	if s.opts.Runner != RunnerActs {
		return
	}
	s.work.Add(1)
	go func(a *attempt) {
		defer s.work.Done()
		conclusion := s.execute(r, a)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conclude(r, conclusion)
		s.next(r)
	}(r.attempt)
}

// next starts the run that has waited longest for r.
func (s *Server) next(r *run) {
	g := s.groups[r.group]
	if g == nil || g.running != r {
		return
	}
	if len(g.pending) == 0 {
		delete(s.groups, r.group)
		return
	}
	g.running, g.pending = g.pending[0], g.pending[1:]
	s.launch(g.running)
}

// cancel ends a run: at once when it waits, and by the rules when it is under way.
func (s *Server) cancel(r *run) {
	switch r.attempt.status {
	case "completed":
	case "pending":
		if g := s.groups[r.group]; g != nil {
			g.pending = slices.DeleteFunc(g.pending, func(p *run) bool { return p == r })
		}
		s.conclude(r, "cancelled")
	default:
		if s.opts.Runner == RunnerActs {
			r.attempt.cancel()
			return
		}
		s.conclude(r, "cancelled")
		s.next(r)
	}
}

func (s *Server) conclude(r *run, conclusion string) {
	r.attempt.conclude(conclusion)
	close(r.attempt.done)
}

func (a *attempt) conclude(conclusion string) {
	a.status, a.conclusion, a.ended = "completed", conclusion, time.Now().UTC()
}
