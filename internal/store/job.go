package store

import (
	"fmt"
	"slices"
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

	Tries  int    // how often its run was triggered, or tried to be
	RunID  string // GitHub's; empty before it is known
	RunURL string

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

// A Run is what is known of a job's run when it has been triggered.
type Run struct {
	ID, URL string // empty when GitHub did not say
	// Doubt is why it is not known whether there is a run; empty when there is one.
	Doubt string
}

// Active reports whether a job in this state is on its way: its tenant gets no other.
func Active(s provision.JobStatus) bool { return !s.Terminal() }

// CanMove reports whether a job may go from one state to another.
//
// The way is Pending, Dispatched, Running, and then an end. Reports of it come late and out
// of order, and a run can be started without us, so a state may be left out but never gone
// back to. Failed or Cancelled can still become Completed: whoever runs the same job again
// has repaired it. Nothing else leaves an end.
func CanMove(from, to provision.JobStatus) bool {
	way := []provision.JobStatus{provision.JobPending, provision.JobDispatched, provision.JobRunning}
	switch {
	case from.Terminal():
		return to == provision.JobCompleted && from != provision.JobCompleted
	case to.Terminal():
		return slices.Contains(way, from)
	}
	f, t := slices.Index(way, from), slices.Index(way, to)
	return f >= 0 && f < t
}

// A Filter chooses jobs. The zero Filter lets all of them through.
type Filter struct {
	Status   provision.JobStatus // empty for any
	TenantID string              // empty for any
	Limit    int                 // 0 for no limit
}

// An Order asks for a tenant to be provisioned.
type Order struct {
	Key     Key // the zero Key when the caller gave none
	JobID   string
	TraceID string
	Actor   string // who asks, for the audit

	TenantID string
	Company  string // may be empty
	Tier     placement.Tier
	// Slug is the one asked for. When it is empty, the tenant keeps the one it has, and a new
	// tenant gets the first of Slugs that is free.
	Slug  string
	Slugs []string
	// Domain is what the hostname ends in: {slug}.{Domain}.
	Domain string

	// Decide says where the tenant lands. It is called inside the transaction, so it must be
	// quick, must not use the store, and may be called again when the transaction is.
	Decide func(World) placement.Decision
	// Answer makes what the caller is told of the new job; it is stored under Key.
	Answer func(Job) ([]byte, error)
	Now    time.Time
}

// A World is what a decision is made on.
type World struct {
	Nodes []placement.Node // as [Store.Placeable] returns them
	// At is the node that the tenant was completed on before; empty for a new one.
	At string
}

// A Key makes an order happen once. Its zero value makes no promise.
type Key struct {
	Scope string // the caller and the route: what another chose as Value is not ours
	Value string // Idempotency-Key, as it was sent
	Hash  string // of the request; another one under the same key is refused
}

// A Receipt is what came of an order.
type Receipt struct {
	Job      Job
	Answer   []byte
	Replayed bool // the order had been taken before, and Answer is of then
}

// An ActiveJobError refuses an order for a tenant that has a job on its way.
type ActiveJobError struct{ Job Job }

func (e *ActiveJobError) Error() string {
	return fmt.Sprintf("tenant %s has the job %s already, which is %s", e.Job.TenantID, e.Job.ID, e.Job.Status)
}

// Unwrap gives the error its class.
func (e *ActiveJobError) Unwrap() error {
	return &provision.Error{Class: provision.Conflict, Text: e.Error(), Next: "wait until that job has ended"}
}
