package github

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/nektos/act/pkg/exprparser"
	"github.com/nektos/act/pkg/model"
)

// Who starts runs, and what carries them out.
const (
	actor      = "stand-in"
	runnerName = "GitHub Actions 1"
)

// A job is one job of an attempt; the server's mutex guards it.
type job struct {
	id         int64
	name       string // for people
	status     string
	conclusion string
	created    time.Time
	started    time.Time
	ended      time.Time
	steps      []*Step
}

// execute carries out an attempt, job after job, and returns its conclusion.
func (s *Server) execute(r *run, a *attempt) string {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-a.stop:
		return "cancelled"
	}
	s.mu.Lock()
	a.status, a.started = "in_progress", time.Now().UTC()
	s.mu.Unlock()

	e := &execution{s: s, run: r, a: a, needs: map[string]exprparser.Needs{}, outputs: map[string]string{}}
	var err error
	if e.dir, err = newDirs(s.opts.Dir); err != nil {
		a.journal.note("error", err.Error())
		return "failure"
	}
	defer os.RemoveAll(e.dir.root) // like the machine that GitHub throws away
	conclusions := e.jobs()
	s.mu.Lock()
	a.outputs = e.outputs
	s.mu.Unlock()
	switch {
	case slices.Contains(conclusions, "cancelled"):
		return "cancelled"
	case slices.Contains(conclusions, "failure"):
		return "failure"
	case !slices.Contains(conclusions, "success"):
		return "skipped"
	}
	return "success"
}

// An execution carries out one attempt; one goroutine uses it.
type execution struct {
	s       *Server
	run     *run
	a       *attempt
	dir     dirs
	needs   map[string]exprparser.Needs
	outputs map[string]string
}

// jobs carries out the jobs, each after those it needs, and returns their conclusions.
func (e *execution) jobs() []string {
	var conclusions []string
	left := slices.Sorted(maps.Keys(e.run.def.Jobs))
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(id string) bool {
			return !slices.ContainsFunc(e.run.def.Jobs[id].Needs(), func(need string) bool { return slices.Contains(left, need) })
		})
		if i < 0 {
			e.a.journal.note("error", "the jobs need each other in a circle")
			return append(conclusions, "failure")
		}
		id := left[i]
		left = slices.Delete(left, i, i+1)
		c := e.job(id)
		e.run.def.Jobs[id].Result = c // where act's success() and failure() look
		conclusions = append(conclusions, c)
	}
	return conclusions
}

// job carries out one job and returns its conclusion.
func (e *execution) job(id string) string {
	def := e.run.def.Jobs[id]
	needs := map[string]exprparser.Needs{}
	for _, need := range def.Needs() {
		needs[need] = e.needs[need]
	}
	sc := e.s.inJob(e.s.scope(e.run, e.a.n), e.run.def, id, needs)
	rec := &job{id: e.run.id*100 + int64(len(e.a.jobs)) + 1, name: id, status: "in_progress", created: time.Now().UTC()}
	rec.started = rec.created
	conclusion, outputs := e.steps(sc, id, def, rec)
	if outputs == nil {
		outputs = map[string]string{}
	}
	e.needs[id] = exprparser.Needs{Outputs: outputs, Result: conclusion}
	maps.Copy(e.outputs, outputs)
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	rec.status, rec.conclusion, rec.ended = "completed", conclusion, time.Now().UTC()
	return conclusion
}

// steps carries out the steps of a job, and returns its conclusion and outputs.
func (e *execution) steps(sc scope, id string, def *model.Job, rec *job) (string, map[string]string) {
	fail := func(err error) (string, map[string]string) {
		e.a.journal.note("error", "The template is not valid. "+err.Error())
		return "failure", nil
	}
	e.s.mu.Lock()
	e.a.jobs = append(e.a.jobs, rec)
	e.s.mu.Unlock()
	if def.Strategy != nil || def.Uses != "" {
		return fail(fmt.Errorf("the stand-in knows no matrix and no called workflow"))
	}
	if def.If.Value != "" {
		if ok, err := sc.holds(def.If); err != nil {
			return fail(err)
		} else if !ok {
			return "skipped", nil
		}
	}
	if e.a.cancelled() {
		return "cancelled", nil
	}
	j, err := e.newJobRun(sc, id, def, rec)
	if err != nil {
		return fail(err)
	}
	defer j.timer.Stop()
	for _, step := range def.Steps {
		j.step(step)
	}
	j.post()
	outputs, err := j.jobOutputs(def.Outputs)
	if err != nil {
		return fail(err)
	}
	return j.sc.env.Job.Status, outputs
}
