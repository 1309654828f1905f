package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Ledger keeps one [Record] for each job, for ever: a job may be delivered again after
// days. Package ledgertest is what every Ledger does, as tests.
type Ledger interface {
	// Load returns the record of a job, and the zero Record where there is none.
	Load(ctx context.Context, jobID string) (Record, error)
	// Save stores r as version r.Version+1, provided that the stored version is
	// r.Version, which is 0 for a job without a record. It answers false, and changes
	// nothing, when another came first. What it answers true to survives a crash. After
	// an error either may be the case.
	Save(ctx context.Context, r Record) (bool, error)
}

// A Record is what is known of one job. Its version is the fencing token: whoever has
// read a version may do what that version permits only after having saved the next one.
type Record struct {
	JobID   string
	Hash    string // the job's [Fingerprint]
	Version int64  // how often it was saved
	State   State
	// Until is: for Waiting, when the job may be sent, zero for now; for Sending, the end
	// of the lease; for Lost and Unnamed, when a run that has not appeared will not.
	Until   time.Time
	Sends   int       // requests that may have reached GitHub
	FirstAt time.Time // when the first was permitted; zero before that
	SentAt  time.Time // when the last was permitted
	Looks   int       // how often a run was looked for since the last request
	LookAt  time.Time // for Lost and Unnamed: not again before that
	Run     Run       // for Done; its ID is 0 when it was never found by name
	// Attempt is which attempt of the job all this is about, from 1; 0 is 1 too. After is the
	// greatest id of the runs of those before it, 0 for none: GitHub's ids grow.
	Attempt int
	After   int64
	// Reason, Class and Next are the last error of a job that is not Done.
	Reason string
	Class  provision.Class
	Next   string
}

// A Status is what a [Record] says to others, as JSON.
type Status struct {
	JobID      string          `json:"job_id"`
	Attempt    int             `json:"attempt"` // from 1
	State      State           `json:"state"`
	*Run                       // nil unless there is one; its run_id is 0 when it was never found by name
	Sends      int             `json:"sends"`            // requests that may have reached GitHub
	SentAt     time.Time       `json:"sent_at,omitzero"` // the last of them
	Until      time.Time       `json:"until,omitzero"`   // when this state is looked at again, at the latest
	Reason     string          `json:"reason,omitempty"` // why there is no run yet
	ErrorClass provision.Class `json:"error_class,omitempty"`
	NextAction string          `json:"next_action,omitempty"`
}

// Status returns the record for others. Of the zero Record it is the zero Status.
func (r Record) Status() Status {
	s := Status{JobID: r.JobID, Attempt: max(1, r.Attempt), State: r.State, Sends: r.Sends, SentAt: r.SentAt.UTC(), Until: r.Until.UTC(),
		Reason: r.Reason, ErrorClass: r.Class, NextAction: r.Next}
	if r.State == Done {
		s.Run = &r.Run
	}
	return s
}

// A State is where a job stands between two deliveries.
type State string

// The states. A job begins as Waiting and ends as Done or Declined.
const (
	Waiting  State = "waiting"  // no request is under way and no run exists
	Sending  State = "sending"  // one dispatcher may send a request until its lease ends
	Lost     State = "lost"     // a request was sent, and what became of it is unknown
	Unnamed  State = "unnamed"  // a run exists, and is being looked for by its name
	Done     State = "accepted" // a run exists
	Declined State = "rejected" // GitHub has refused the job, and not whoever has asked
)

// Fingerprint returns a hash of all that job asks for, whichever attempt it is. Two messages
// with the same job_id and different fingerprints contradict each other.
func Fingerprint(job provision.Job) string {
	job.Attempt = 0
	b, err := json.Marshal(job.Message())
	if err != nil {
		panic("unreachable: a message holds nothing but strings: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
