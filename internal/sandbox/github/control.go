package github

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// Runs returns all runs, the oldest first.
func (s *Server) Runs() []Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Run, 0, len(s.runs))
	for _, r := range s.runs {
		if r != nil {
			list = append(list, s.view(r))
		}
	}
	return list
}

// Each calls f for the id and the name of every run, the oldest first, until it returns
// false. It takes less than Runs where there are very many. f must not call s.
func (s *Server) Each(f func(id int64, name string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		if r != nil && !f(r.id, r.name) {
			return
		}
	}
}

// Steer moves a run that nobody carries out: to a status, and when that is completed with
// a conclusion. in_progress gives it a job, which a runner has taken.
func (s *Server) Steer(id int64, status, conclusion string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(id)
	switch {
	case r == nil:
		return noRun(id)
	case s.opts.Runner != RunnerAway || r.attempt.status == "completed":
		return provision.Errorf(provision.Conflict, "run %d cannot be steered", id)
	}
	now, a := time.Now().UTC(), r.attempt
	if status == "in_progress" && len(a.jobs) == 0 {
		a.started = now
		a.jobs = []*job{{id: id*100 + 1, name: "stand-in", status: status, created: now, started: now}}
	}
	a.status = status
	if status != "completed" {
		return nil
	}
	for _, j := range a.jobs {
		j.status, j.conclusion, j.ended = status, conclusion, now
	}
	s.conclude(r, conclusion)
	s.next(r)
	return nil
}

// Run returns the run of that id; NotFound if there is none.
func (s *Server) Run(id int64) (Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(id)
	if r == nil {
		return Run{}, noRun(id)
	}
	return s.view(r), nil
}

// Wait returns the run when it is completed.
func (s *Server) Wait(ctx context.Context, id int64) (Run, error) {
	s.mu.Lock()
	r := s.find(id)
	if r == nil {
		s.mu.Unlock()
		return Run{}, noRun(id)
	}
	done := r.attempt.done
	s.mu.Unlock()
	select {
	case <-done:
		return s.Run(id)
	case <-ctx.Done():
		return Run{}, fmt.Errorf("wait for run %d: %w", id, ctx.Err())
	}
}

// Cancel asks a run to end. A run that has ended is a Conflict.
func (s *Server) Cancel(id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(id)
	switch {
	case r == nil:
		return noRun(id)
	case r.attempt.status == "completed":
		return provision.Errorf(provision.Conflict, "run %d is completed", id)
	}
	s.cancel(r)
	return nil
}

// Rerun starts the next attempt of a run that has ended; one that has not is a Conflict.
func (s *Server) Rerun(id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(id)
	switch {
	case r == nil:
		return noRun(id)
	case s.closed || r.attempt.status != "completed":
		return provision.Errorf(provision.Conflict, "run %d is already running", id)
	}
	s.enqueue(r, r.attempt.n+1)
	return nil
}

func noRun(id int64) error { return provision.Errorf(provision.NotFound, "there is no run %d", id) }

func (s *Server) find(id int64) *run {
	i := id - firstRun
	if i < 0 || i >= int64(len(s.runs)) {
		return nil
	}
	return s.runs[i]
}

func (s *Server) view(r *run) Run {
	a := r.attempt
	v := Run{
		ID: r.id, Number: r.number, Attempt: a.n, Name: r.name, Workflow: r.def.path, Ref: r.ref,
		Status: a.status, Conclusion: a.conclusion,
		Inputs: r.givenInputs(), Outputs: maps.Clone(a.outputs),
		URL: s.runURL(r), HTMLURL: s.runPage(r),
		CreatedAt: r.created, StartedAt: a.started, EndedAt: a.ended,
	}
	v.Log, v.Summary, v.Notes = a.journal.read()
	for _, j := range a.jobs {
		for _, st := range j.steps {
			v.Steps = append(v.Steps, *st)
		}
	}
	return v
}

// givenInputs returns a copy of the inputs.
func (r *run) givenInputs() map[string]any {
	if r.written == nil {
		return maps.Clone(r.inputs)
	}
	var inputs map[string]any
	_ = json.Unmarshal(r.written, &inputs) // we have written it
	return inputs
}

// page shows a run to people.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	run := s.find(pathID(r))
	if run == nil || !strings.EqualFold(r.PathValue("owner")+"/"+r.PathValue("repo"), s.opts.Repo) {
		s.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	v := s.view(run)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s\nrun %d, attempt %d: %s %s\n\n%s\n%s", v.Name, v.ID, v.Attempt, v.Status, v.Conclusion, v.Log, v.Summary)
}
