package workflow

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// runName checks that a run can be found by its job when GitHub's answer was lost.
func (c *checker) runName() {
	if !c.w.Names("job_id") {
		c.add(Error, "run-name", []string{"run-name"}, "does not carry the job_id as a word, so that a run whose answer was lost cannot be found",
			"write ${{ inputs.job_id }} into it, with spaces or brackets around it")
	}
}

// concurrency checks that no run is dropped while it waits, nor stopped for another.
func (c *checker) concurrency() {
	c.group("concurrency", []string{"concurrency"}, c.w.Concurrency)
	jobs := find(&c.doc, []string{"jobs"})
	if jobs == nil {
		return
	}
	var p parser
	p.each(jobs, "jobs", func(id string, job *yaml.Node) {
		if n := find(job, []string{"concurrency"}); n != nil {
			c.group("jobs."+id+".concurrency", []string{"jobs", id, "concurrency"}, p.concurrency(n))
		}
	})
	if p.err != nil {
		c.found = append(c.found, c.unreadable(nil, p.err)...)
	}
}

func (c *checker) group(field string, path []string, g Concurrency) {
	at := func(key string) []string { return append(slices.Clone(path), key) }
	switch {
	case g.CancelInProgress == "true":
		c.add(Error, field, at("cancel-in-progress"), "stops a run that is under way when another begins", "make cancel-in-progress false, and queue: max")
		return
	case strings.Contains(g.CancelInProgress, "${{"):
		c.add(Warning, field, at("cancel-in-progress"), "may stop a run that is under way when another begins", "make cancel-in-progress false, and queue: max")
	}
	switch {
	case g.Queue == "max", g.Group == "", alone(g.Group):
	case g.Queue == "" || g.Queue == "single":
		c.add(Error, field, at("queue"), "cancels the run that waits when another comes, and its job is lost", "add queue: max")
	case strings.Contains(g.Queue, "${{"):
		c.add(Warning, field, at("queue"), "may cancel the run that waits when another comes", "make it queue: max")
	default:
		c.add(Error, field, at("queue"), fmt.Sprintf("has the queue %.40q, which GitHub does not know", g.Queue), "make it queue: max")
	}
}

// alone reports whether a group has the runs of one job and no others, of which all but
// one may go.
func alone(group string) bool {
	for _, unique := range []string{"github.run_id", "inputs.job_id"} {
		if strings.Contains(group, unique) {
			return true
		}
	}
	return false
}
