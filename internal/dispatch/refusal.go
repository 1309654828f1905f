package dispatch

import (
	"context"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// MaxBody is how much of a refused message is kept, in bytes.
const MaxBody = 16 << 10

// A Refusal is a message that can never become a run: it cannot be read, or contradicts
// one that came before.
type Refusal struct {
	MessageID string          `json:"message_id"`       // the queue's; required
	JobID     string          `json:"job_id,omitempty"` // empty where it cannot be read
	At        time.Time       `json:"at"`
	Class     provision.Class `json:"error_class"`
	Reason    string          `json:"reason"` // one sentence, without secrets
	Body      []byte          `json:"body"`   // as it was delivered; the first MaxBody bytes are kept
}

// Refusals remember what was refused. Both ledgers do.
type Refusals interface {
	// Refuse keeps r unless there is one of the same message already.
	Refuse(ctx context.Context, r Refusal) error
	// Refusals returns the latest, the newest first, and no more than limit of them.
	Refusals(ctx context.Context, limit int) ([]Refusal, error)
}

// Bounded returns r as ledgers keep it, with text that every database takes; and an error
// if it is of no message.
func (r Refusal) Bounded() (Refusal, error) {
	if r.MessageID == "" {
		return r, provision.Errorf(provision.Internal, "a refusal without a message")
	}
	if len(r.Body) > MaxBody {
		r.Body = r.Body[:MaxBody]
	}
	r.JobID, r.Reason = storable(r.JobID), storable(r.Reason)
	return r, nil
}
