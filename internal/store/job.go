package store

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Job is a row of provision_jobs: what was asked for, and what became of it.
type Job struct {
	provision.Job
	Status provision.JobStatus
	Tier   placement.Tier
	Reason placement.Reason // why the placement is what it is

	// Attempt counts the runs that were asked for, from 1: Failed → Pending begins another.
	Attempt int
	Tries   int    // how often the run of this attempt was triggered, or tried to be
	RunID   string // GitHub's, of this attempt; empty before it is known
	RunURL  string
	// RunAttempt is how often GitHub has run that run, as far as it has reported; 0 when it has not.
	RunAttempt int
	// PastRunID is the newest run that is known of the attempts before; empty for none.
	PastRunID string

	NodeID     string // where the tenant landed; set by a completion
	Host       string
	Stack      string
	Error      string // of a failed job, or of the last try to trigger one that has not reported yet
	ErrorClass provision.Class

	CreatedAt    time.Time
	UpdatedAt    time.Time
	DispatchedAt time.Time // zero when not yet; so are the next two
	StartedAt    time.Time
	EndedAt      time.Time
}

// A RetryError is why [Store.Work] shall hand a job out again, and after what pause.
type RetryError struct {
	After time.Duration // 0 for a default that grows
	Err   error
}

func (e *RetryError) Error() string { return e.Err.Error() }
func (e *RetryError) Unwrap() error { return e.Err }

// A Run is what is known of a job's run when it has been triggered.
type Run struct {
	ID, URL string // empty when GitHub did not say
	Attempt int    // of the job; 0 for the one that it is in
	// Doubt is why it is not known whether there is a run; empty when there is one.
	Doubt string
}

// Active reports whether a job in this state is on its way: its tenant gets no other.
func Active(s provision.JobStatus) bool { return !s.Terminal() }

// CanMove reports whether a job may go from one state to another.
//
// The way is Pending, Dispatched, Running, and then an end. Reports of it come late and out
// of order, so a state may be left out but never gone back to. Failed and Cancelled lead to
// Pending, as another attempt; nothing else leaves an end.
func CanMove(from, to provision.JobStatus) bool {
	way := []provision.JobStatus{provision.JobPending, provision.JobDispatched, provision.JobRunning}
	switch {
	case from.Terminal():
		return to == provision.JobPending && from != provision.JobCompleted
	case to.Terminal():
		return slices.Contains(way, from)
	}
	f, t := slices.Index(way, from), slices.Index(way, to)
	return f >= 0 && f < t
}

// A Report says which run tells us something, as far as that is known.
type Report int

// The reports.
const (
	OfThis  Report = iota // of the run that the job knows, or of one that cannot be told from it
	OfOlder               // of a run, or an attempt of it, before the one that the job knows
	OfNewer               // of one after it: somebody has started it again at GitHub
)

// ReportOf compares the run that reports with the one that j knows. GitHub's ids of runs
// grow, and an attempt of a run counts from 1. Whoever names no run is taken for this one.
func ReportOf(j Job, runURL string, attempt int) Report {
	theirs, ours, past := runID(runURL), runID("/actions/runs/"+j.RunID), runID("/actions/runs/"+j.PastRunID)
	switch {
	case theirs == 0:
		return OfThis
	case theirs <= past && theirs != ours:
		return OfOlder
	case ours == 0:
		return OfThis
	case theirs != ours && theirs < ours:
		return OfOlder
	case theirs != ours:
		return OfNewer
	case attempt == 0 || j.RunAttempt == 0 || attempt == j.RunAttempt:
		return OfThis
	case attempt < j.RunAttempt:
		return OfOlder
	}
	return OfNewer
}

// runID returns the id in the address of a run, such as
// https://github.com/OWNER/NAME/actions/runs/30433642; 0 where there is none.
func runID(address string) int64 {
	_, rest, _ := strings.Cut(address, "/actions/runs/")
	digits, _, _ := strings.Cut(rest, "/")
	id, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || id < 0 {
		return 0
	}
	return id
}

// WithRun returns j with what a report tells of its run.
func (j Job) WithRun(runURL string, attempt int) Job {
	if runURL != "" {
		j.RunURL = runURL
	}
	if id := runID(runURL); id != 0 {
		j.RunID = strconv.FormatInt(id, 10)
		if attempt != 0 {
			j.RunAttempt = attempt
		}
	}
	return j
}

// Again returns j as its next attempt, of which nothing is known yet.
func (j Job) Again(now time.Time) Job {
	next := Job{Job: j.Job, Status: provision.JobPending, Tier: j.Tier, Reason: j.Reason,
		Attempt: j.Attempt + 1, PastRunID: j.PastRunID, CreatedAt: j.CreatedAt, UpdatedAt: now}
	if j.RunID != "" {
		next.PastRunID = j.RunID
	}
	return next
}

// A Filter chooses jobs. The zero Filter lets all of them through.
type Filter struct {
	Status   provision.JobStatus // empty for any
	TenantID string              // empty for any
	Limit    int                 // 0 for no limit
}
