package github

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nektos/act/pkg/model"
	"gopkg.in/yaml.v3"
)

// A jobRun is a job while its steps are carried out.
type jobRun struct {
	*execution
	id    string
	sc    scope
	rec   *job
	env   map[string]string // of the workflow and the job, and what steps have added
	path  []string          // what steps have put in front of PATH
	timer *time.Timer       // when the job's time is up
	posts []part            // the main parts that were started, whose post parts are to follow

	containers int // that have been started
}

func (e *execution) newJobRun(sc scope, id string, def *model.Job, rec *job) (*jobRun, error) {
	sc.in.Context = "step"
	sc.env.Github.Workspace = e.dir.workspace
	sc.env.Runner["temp"] = e.dir.temp
	j := &jobRun{execution: e, id: id, sc: sc, rec: rec, env: map[string]string{}}
	if name, err := sc.text(def.Name); err != nil {
		return nil, err
	} else if name != "" {
		e.s.mu.Lock()
		rec.name = name
		e.s.mu.Unlock()
	}
	own := map[string]string{}
	if err := def.Env.Decode(&own); err != nil && !def.Env.IsZero() {
		return nil, err
	}
	for _, level := range []map[string]string{e.run.def.Env, own} {
		values, err := j.sc.all(level)
		if err != nil {
			return nil, err
		}
		maps.Copy(j.env, values)
		j.sc.env.Env = maps.Clone(j.env)
	}
	text, err := sc.text(def.TimeoutMinutes)
	if err != nil {
		return nil, err
	}
	minutes, err := strconv.ParseFloat(text, 64)
	if err != nil {
		minutes = 360 // GitHub's default
	}
	j.timer = time.NewTimer(time.Duration(minutes * float64(time.Minute)))
	return j, nil
}

// step carries out one step and keeps what became of it.
func (j *jobRun) step(def *model.Step) {
	rec := &Step{Job: j.id, Name: def.String(), StartedAt: time.Now().UTC()}
	if def.Name == "" {
		rec.Name = "Run " + rec.Name
	}
	j.s.mu.Lock()
	j.rec.steps = append(j.rec.steps, rec)
	j.s.mu.Unlock()
	if j.a.cancelled() {
		j.sc.env.Job.Status = "cancelled"
	}
	result := &model.StepResult{Outputs: map[string]string{}}
	conclusion := j.conclude(def, result)
	if def.ID != "" {
		j.sc.env.Steps[def.ID] = result
	}
	if conclusion == "failure" && j.sc.env.Job.Status == "success" {
		j.sc.env.Job.Status = "failure"
	}
	if conclusion == "cancelled" {
		j.sc.env.Job.Status = "cancelled"
	}
	j.s.mu.Lock()
	defer j.s.mu.Unlock()
	rec.Conclusion, rec.EndedAt = conclusion, time.Now().UTC()
}

// post starts the post parts of the actions that were started, the last one's first, where
// the condition that action.yml names holds.
func (j *jobRun) post() {
	for _, p := range slices.Backward(j.posts) {
		if j.a.cancelled() {
			j.sc.env.Job.Status = "cancelled"
		}
		ok, err := j.sc.holds(yaml.Node{Kind: yaml.ScalarNode, Value: p.meta.Runs.PostIf})
		if err == nil && !ok {
			continue
		}
		rec := &Step{Job: j.id, Name: "Post " + p.def.String(), StartedAt: time.Now().UTC()}
		j.s.mu.Lock()
		j.rec.steps = append(j.rec.steps, rec)
		j.s.mu.Unlock()
		outcome := "failure"
		if err == nil {
			p.entry = p.meta.Runs.PostEntrypoint
			outcome, err = j.start(p, &model.StepResult{Outputs: map[string]string{}})
		}
		if err != nil {
			j.a.journal.note("error", err.Error())
		}
		if outcome != "success" && j.sc.env.Job.Status == "success" {
			j.sc.env.Job.Status = outcome
		}
		j.s.mu.Lock()
		rec.Conclusion, rec.EndedAt = outcome, time.Now().UTC()
		j.s.mu.Unlock()
	}
}

// conclude carries a step out where its condition holds, and returns its conclusion.
func (j *jobRun) conclude(def *model.Step, result *model.StepResult) string {
	result.Outcome, result.Conclusion = model.StepStatusSkipped, model.StepStatusSkipped
	ok, err := j.sc.holds(def.If)
	if err == nil && !ok {
		return "skipped"
	}
	outcome := "failure"
	if err == nil {
		outcome, err = j.carryOut(def, result)
	}
	if err != nil {
		j.a.journal.note("error", err.Error())
	}
	if outcome == "success" {
		result.Outcome, result.Conclusion = model.StepStatusSuccess, model.StepStatusSuccess
		return outcome
	}
	result.Outcome, result.Conclusion = model.StepStatusFailure, model.StepStatusFailure
	if on, err := j.sc.text(def.RawContinueOnError); outcome == "failure" && err == nil && on == "true" {
		result.Conclusion = model.StepStatusSuccess
		return "success"
	}
	return outcome
}

// carryOut does what the step says and returns its outcome: success, failure or cancelled.
func (j *jobRun) carryOut(def *model.Step, result *model.StepResult) (string, error) {
	switch {
	case strings.HasPrefix(def.Uses, "actions/checkout@"):
		j.a.journal.print("##[group]Run " + def.Uses)
		j.a.journal.print("The stand-in has nothing to check out, and skips this step.")
		j.a.journal.print("##[endgroup]")
		return "success", nil
	case def.Uses == "." || strings.HasPrefix(def.Uses, "./"):
		return j.action(def, result)
	case def.Uses != "":
		return "failure", fmt.Errorf("the stand-in runs no action but the repository's own, and not %s", def.Uses)
	}
	return "failure", fmt.Errorf("the stand-in runs no scripts")
}

// jobOutputs evaluates the outputs of the job. As the runner does, it leaves out what may
// hold a secret.
func (j *jobRun) jobOutputs(def map[string]string) (map[string]string, error) {
	outputs, err := j.sc.all(def)
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		if j.a.journal.masked(outputs[name]) {
			j.a.journal.note("warning", "Skip output '"+name+"' since it may contain secret.")
			delete(outputs, name)
		}
	}
	return outputs, err
}
