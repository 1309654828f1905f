// Package store says what the control plane remembers: tenants, jobs, nodes, their
// metrics, traces, and the answers it has given under an idempotency key.
//
// [Store] is the whole of it, in the control plane's words; every method is one
// transaction. What a Store must do is written down as tests in storetest, which each
// implementation runs: sqlite for a single machine, postgres for several. What those two do
// is in sqlstore. To add a question, add a method here, its test to storetest, and its
// statement to sqlstore.
//
// The package also holds the rules that every implementation shares: which state of a job
// may follow which, see [CanMove], whose report counts, see [ReportOf], and what an audit
// entry says.
package store

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Store is safe for concurrent use. Its errors are classified: [provision.NotFound] for
// what is not there, [provision.Conflict] for what is another's, [provision.Invalid] for a
// request that can never be granted, [provision.Busy] when the database is locked or full.
type Store interface {
	// Ping reports whether the store can be read, and written where a write has failed before.
	Ping(ctx context.Context) error

	// Enqueue takes an order: the tenant, its slug, its job, the audit entry and the answer
	// are stored together or not at all. An order whose key has been seen gets the answer of
	// then. Two orders at once are decided one after the other, each seeing the other's job.
	Enqueue(ctx context.Context, o Order) (Receipt, error)
	// SlugOwner returns the tenant that has the slug; "" when it is free.
	SlugOwner(ctx context.Context, slug string) (tenantID string, err error)

	Job(ctx context.Context, id string) (Job, error)
	// Jobs returns the jobs that f lets through, the newest first.
	Jobs(ctx context.Context, f Filter) ([]Job, error)
	// Work hands every Pending job to handle, until ctx is done; then it waits for what is
	// under way. A job is handed out by one process at a time, however many share the
	// database, and again after a crash in the middle of it, as the same try. Handle returns
	// nil when it has settled the job, by Dispatched or Abandon; after an error the job is
	// handed out again, after the pause of a [RetryError] and otherwise of a default that
	// grows. try counts from 1. A job that is not Pending any more is not handed out.
	Work(ctx context.Context, handle func(ctx context.Context, j Job, try int) error) error
	// Dispatched records the run of a job, and moves it from Pending to [provision.JobDispatched].
	// A job whose run has reported already keeps its state, and one that is in another attempt
	// than the run is left alone: the run has reported, and somebody has tried the job again.
	Dispatched(ctx context.Context, id string, r Run, now time.Time) error
	// Abandon ends a Pending job, whose run cannot be triggered, as Failed. A job in another
	// state is left alone: its run has started after all.
	Abandon(ctx context.Context, id string, why error, now time.Time) error
	// Complete ends a job as its run says. Refused is why nothing was changed, in a sentence for
	// the caller: the job has ended, or the report is of an older run or attempt, see [ReportOf].
	// It is empty when the job was changed. A job of another tenant is a conflict, and so is a node
	// that is dedicated to another. A completion without a node is on the job's target. A report of a
	// newer run of a Failed or Cancelled job that is its tenant's newest is a retry that somebody
	// began at GitHub: the job becomes Pending as by Retry, and then ends as the report says.
	// AddEvents takes a newer run's first event in the same way.
	Complete(ctx context.Context, c provision.Completion, now time.Time) (j Job, refused string, err error)
	// Retry makes a Failed or Cancelled job Pending again, as its next attempt, and hands it to
	// Work. A job that has not ended so, or whose tenant has a newer one, is a conflict; so is one
	// whose node takes it no more: it was removed, drained, or is full.
	Retry(ctx context.Context, id, actor string, now time.Time) (Job, error)
	// Stuck returns up to limit jobs, the oldest first, that were Dispatched before the one
	// time and have reported nothing, or have been Running and silent since before the other.
	Stuck(ctx context.Context, dispatchedBefore, silentBefore time.Time, limit int) ([]Job, error)
	// Settle ends a job that the sweeper has found out about, provided that it is still as it
	// was when j was read: nothing was heard of it since. Otherwise it changes nothing.
	Settle(ctx context.Context, j Job, c provision.Completion, now time.Time) (changed bool, err error)
	// Note stores why an active job cannot be settled, as its Error, where operators see it. It is
	// no news of the job: its UpdatedAt stays, and its run's next report removes it, as nil does. A
	// job that is no longer as it was when j was read is left alone.
	Note(ctx context.Context, j Job, why error) error
	// Audit returns what was recorded of a job, the oldest first; of what is of no job where
	// jobID is empty.
	Audit(ctx context.Context, jobID string) ([]AuditEntry, error)

	// PutNode registers a node on behalf of a job; jobID is empty for one that was set up by
	// hand. The same node again is no change; another one under its id is a conflict.
	PutNode(ctx context.Context, n provision.Node, jobID string) (created bool, err error)
	// SetNodeStatus makes a node active, draining or disabled, which the audit tells of. The
	// status that it has is no change.
	SetNodeStatus(ctx context.Context, id string, status provision.NodeStatus, actor string, now time.Time) error
	Node(ctx context.Context, id string) (provision.Node, error)
	// Nodes returns every node, by id. A node's TenantCount is what its agent last counted,
	// or the tenants that were completed on it where those are more.
	Nodes(ctx context.Context) ([]provision.Node, error)
	// Placement calls f with an index of every node as placement sees it: jobs on their way to
	// a node count as its tenants. It holds what was committed before the call; f must be
	// quick, and must not keep the index.
	Placement(ctx context.Context, f func(*placement.Index)) error
	// PutMetrics replaces what is known of a node's load.
	PutMetrics(ctx context.Context, m Metrics) error

	// AddEvents stores the events that are new, all or none, and reports how many were. The
	// first one of a job moves it to [provision.JobRunning].
	AddEvents(ctx context.Context, events []provision.Event, now time.Time) (added int, err error)
	// TraceEvents returns a page of the events of a trace, in order, and how many there are; none
	// when it is unknown.
	TraceEvents(ctx context.Context, traceID string, p Page) (list []provision.Event, total int, err error)
	// JobEvents returns a page of the events of a job, in order, also those without a trace.
	JobEvents(ctx context.Context, jobID string, p Page) (list []provision.Event, total int, err error)

	// Counts returns what there is of everything, for metrics.
	Counts(ctx context.Context) (Counts, error)
	// Prune forgets idempotency keys and metrics snapshots that came before then.
	Prune(ctx context.Context, before time.Time) error
	Close() error
}

// A Page is Limit rows of a list, or what there is of them, after the first Skip; or the last ones.
type Page struct {
	Limit, Skip int
	Last        bool // Skip is overlooked
}

// Options are what every implementation is opened with.
type Options struct {
	// Thresholds are those of the index that orders are decided on.
	Thresholds placement.Thresholds
	// Log gets what nobody is told of in an answer; nil for silence.
	Log *slog.Logger
}

// Counts says how many there are.
type Counts struct {
	Jobs    map[provision.JobStatus]int
	Tenants map[string]int // by status
	Nodes   map[provision.NodeStatus]int
	Oldest  time.Time // when the oldest job that is Pending was made; zero for none
}

// Metrics are what a node's agent pushes.
type Metrics struct {
	NodeID      string
	CPUPct      *float64 // 0 to 100; nil when unknown
	MemoryPct   *float64
	DiskPct     *float64
	TenantCount int
	Source      string    // "node_push" or "hetzner_api"
	Snapshot    bool      // also keep it for later
	At          time.Time // when it came
}

// An AuditEntry says who changed what, and why.
type AuditEntry struct {
	At       time.Time
	Actor    string
	Action   string // "enqueue", "status" for a change of a job's state, or "node" for one of a node's
	JobID    string // empty, as TenantID is, of a "node" entry
	TenantID string
	Detail   json.RawMessage
}

// AuditCandidates is how many nodes an audit entry names: enough to see why, and so few that
// they are not most of what an order writes, however large the cluster is.
const AuditCandidates = 5

// DecisionDetail is the detail of an "enqueue" entry: the decision and what led to it.
func DecisionDetail(d placement.Decision) (json.RawMessage, error) {
	return json.Marshal(struct {
		Algorithm  string                `json:"algorithm"`
		Placement  placement.Result      `json:"placement"`
		Reason     placement.Reason      `json:"decision_reason"`
		Candidates []placement.Candidate `json:"candidates"`
		Cluster    placement.Cluster     `json:"cluster"`
		Snapshot   string                `json:"snapshot"`
	}{placement.Algorithm, d.Placement, d.Reason, d.Candidates[:min(len(d.Candidates), AuditCandidates)], d.Cluster, d.Snapshot})
}

// NodeDetail is the detail of a "node" entry.
func NodeDetail(id string, from, to provision.NodeStatus) (json.RawMessage, error) {
	return json.Marshal(map[string]string{"node_id": id, "from": string(from), "to": string(to)})
}

// StatusDetail is the detail of a "status" entry.
func StatusDetail(from, to provision.JobStatus, why string) (json.RawMessage, error) {
	d := map[string]string{"from": string(from), "to": string(to)}
	if why != "" {
		d["why"] = why
	}
	return json.Marshal(d)
}
