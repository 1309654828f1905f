package provision

import (
	"fmt"
	"time"
)

// An Event is one line of a job's trace, as POST /internal/trace-events takes it.
type Event struct {
	// ID names the event: the same event of the same attempt has the same ID, so that
	// one that is sent twice is stored once.
	ID         string    `json:"event_id"`
	TraceID    string    `json:"trace_id,omitempty"` // empty: kept under the job
	JobID      string    `json:"job_id"`
	TenantID   string    `json:"tenant_id"`
	Stage      string    `json:"stage"` // the step's name
	Status     Status    `json:"status"`
	Message    string    `json:"message,omitempty"` // a sentence for people; never a secret
	Attempt    int       `json:"attempt"`           // from 1
	At         time.Time `json:"at"`
	DurationMS int64     `json:"duration_ms,omitempty"`
	RunURL     string    `json:"run_url,omitempty"`
}

// A Status says what became of a step.
type Status string

// The statuses of a step.
const (
	Started   Status = "started"
	Succeeded Status = "succeeded"
	Failed    Status = "failed"
	Skipped   Status = "skipped"
)

// EventID returns the ID of what happened to stage in an attempt of a run. run is
// GitHub's id of the run; on a laptop any name will do.
func EventID(jobID, run string, attempt int, stage string, status Status) string {
	return fmt.Sprintf("%s/%s/%d/%s/%s", jobID, run, attempt, stage, status)
}

// A JobStatus is the state of a job in the control plane:
// Pending, Dispatched, Running, then Completed, Failed or Cancelled.
type JobStatus string

// The states of a job.
const (
	JobPending    JobStatus = "Pending"
	JobDispatched JobStatus = "Dispatched"
	JobRunning    JobStatus = "Running"
	JobCompleted  JobStatus = "Completed"
	JobFailed     JobStatus = "Failed"
	JobCancelled  JobStatus = "Cancelled"
)

// Terminal reports whether a job in this state has ended.
func (s JobStatus) Terminal() bool {
	return s == JobCompleted || s == JobFailed || s == JobCancelled
}

// A Completion tells the control plane how a job ended.
type Completion struct {
	JobID      string    `json:"job_id"`
	TenantID   string    `json:"tenant_id"`
	Status     JobStatus `json:"status"` // a terminal one
	NodeID     string    `json:"node_id,omitempty"`
	Host       string    `json:"host,omitempty"`
	Stack      string    `json:"stack,omitempty"`
	Hostname   string    `json:"hostname,omitempty"`
	Error      string    `json:"error,omitempty"` // one sentence
	ErrorClass Class     `json:"error_class,omitempty"`
	RunURL     string    `json:"run_url,omitempty"`
	Attempt    int       `json:"attempt,omitempty"` // of the run, from 1, as GitHub counts; 0 when unknown
}
