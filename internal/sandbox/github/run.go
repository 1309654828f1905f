package github

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A Run is one run of a workflow as it stands: its last attempt, if it was run again.
type Run struct {
	ID         int64
	Number     int
	Attempt    int    // from 1
	Name       string // its run-name, evaluated
	Workflow   string // the file's path
	Ref        string
	Status     string // queued, pending, in_progress, completed, or what Steer has said
	Conclusion string // success, failure, cancelled, skipped, or what Steer has said; empty before the end
	Inputs     map[string]any
	Outputs    map[string]string // of its jobs; empty before the end
	Summary    string            // Markdown, of all steps, masked
	Log        string            // of all steps, masked
	Notes      []Annotation
	Steps      []Step // of all jobs
	URL        string // of the API
	HTMLURL    string
	CreatedAt  time.Time
	StartedAt  time.Time // zero before a runner took it
	EndedAt    time.Time // zero before the end
}

// A Step is one step of a job.
type Step struct {
	Job, Name  string
	Conclusion string // success, failure, cancelled, skipped; empty before its end
	StartedAt  time.Time
	EndedAt    time.Time
}

// firstRun is the first run's id: like GitHub's, it does not fit in 32 bits.
const firstRun = 16_000_000_001

// run is a run as the server keeps it; the server's mutex guards it and its attempt.
type run struct {
	id      int64
	number  int
	def     *definition
	ref     string
	base    string // the API's address
	name    string
	inputs  map[string]any
	written []byte // inputs as JSON, which is smaller, where nobody carries the run out
	created time.Time
	group   string // concurrency group, lower-cased; empty for none
	cancels bool   // cancel-in-progress
	attempt *attempt
}

// An attempt is one execution of a run.
type attempt struct {
	n                  int
	status, conclusion string
	started, ended     time.Time
	outputs            map[string]string
	jobs               []*job
	journal            *journal

	stopping, killing bool
	stop              chan struct{} // closed: end by the rules
	hard              chan struct{} // closed: end now
	done              chan struct{} // closed: completed
}

// cancel asks the attempt to end by the rules.
func (a *attempt) cancel() {
	if !a.stopping {
		a.stopping = true
		close(a.stop)
	}
}

// kill ends it now.
func (a *attempt) kill() {
	if a.stop == nil {
		return // nobody carries it out
	}
	a.cancel()
	if !a.killing {
		a.killing = true
		close(a.hard)
	}
}

// cancelled reports whether stop has been closed.
func (a *attempt) cancelled() bool {
	select {
	case <-a.stop:
		return true
	default:
		return false
	}
}

// submit makes a run and queues it.
func (s *Server) submit(d *definition, ref string, inputs map[string]any) (*run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("the stand-in is closed")
	}
	r := &run{
		id: firstRun + int64(len(s.runs)), number: len(s.runs) + 1, def: d, ref: ref, base: s.base,
		inputs: inputs, created: time.Now().UTC(),
	}
	sc := s.scope(r, 1)
	var err error
	if r.name, err = sc.text(d.runName); err != nil {
		return nil, fmt.Errorf("run-name: %w", err)
	}
	if r.name == "" {
		r.name = d.Name
	}
	group, err := sc.text(d.concurrency.group)
	if err != nil {
		return nil, fmt.Errorf("concurrency group: %w", err)
	}
	r.group = strings.ToLower(group)
	cancels, err := sc.text(d.concurrency.cancel)
	if err != nil {
		return nil, fmt.Errorf("concurrency: %w", err)
	}
	r.cancels = cancels == "true"
	if s.tooMany(r.created) {
		s.runs = append(s.runs, nil) // its id is taken, and that is all
		return r, nil
	}
	if s.opts.Runner != RunnerActs {
		if r.written, err = json.Marshal(r.inputs); err != nil {
			return nil, err
		}
		r.inputs = nil
	}
	s.runs = append(s.runs, r)
	s.enqueue(r, 1)
	return r, nil
}

// tooMany reports whether a run is one more than GitHub queues in ten seconds.
func (s *Server) tooMany(now time.Time) bool {
	const d = 10 * time.Second
	n := s.limits.QueuedIn10s
	if n < 0 {
		return false
	}
	s.queued.drop(now, d)
	if s.queued.wait(n, d, now) > 0 {
		s.limits.mu.Lock()
		defer s.limits.mu.Unlock()
		s.limits.stats.Dropped++
		return true
	}
	s.queued = append(s.queued, now)
	return false
}
