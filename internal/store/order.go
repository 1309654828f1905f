package store

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// NewJobID returns an id for an order that came at now. Ids of one time are beside each other
// in an index, which a store can then write at its end; 80 bits of each cannot be guessed. They
// are 30 characters, lower case.
func NewJobID(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // which never fails
	return "job_" + strings.ToLower(strings.TrimRight(base32.HexEncoding.EncodeToString(b[:]), "="))
}

// An Order asks for a tenant to be provisioned.
type Order struct {
	Key     Key    // the zero Key when the caller gave none
	JobID   string // best made by [NewJobID]
	TraceID string
	Actor   string // who asks, for the audit

	TenantID string
	// New refuses a tenant that there is already, as a Conflict: whoever asks has shown no
	// right to it. What was answered under Key is answered again all the same.
	New     bool
	Company string // may be empty
	Tier    placement.Tier
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
	// Snapshot refuses the order when what is decided on has another hash, [placement.Decision.Snapshot]:
	// the world has moved since the caller looked. Empty for any.
	Snapshot string
}

// A MovedError refuses an order whose Snapshot was another, and brings the decision of now.
type MovedError struct{ Decision placement.Decision }

func (e *MovedError) Error() string {
	return "the nodes have changed since the snapshot that was expected"
}

// Unwrap gives the error its class.
func (e *MovedError) Unwrap() error {
	return &provision.Error{Class: provision.Conflict, Text: e.Error(), Next: "look at the new decision, and send its snapshot or none"}
}

// An InFlightError refuses an order whose key is being decided for another request just now.
type InFlightError struct{}

func (*InFlightError) Error() string { return "a request with this Idempotency-Key is being answered" }

// Unwrap gives the error its class.
func (e *InFlightError) Unwrap() error {
	return &provision.Error{Class: provision.Conflict, Text: e.Error(), Next: "send the same again in a second"}
}

// A World is what a decision is made on.
type World struct {
	Nodes *placement.Index // as [Store.Placement] has it, and the orders of the same transaction before this
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
