package dispatch

import (
	"context"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// An Inbox keeps jobs whose sender was told that they are taken on, until they have ended.
// Both ledgers are Inboxes, and package ledgertest says as tests what an Inbox does. Two
// who work on the same job do no harm: the ledger makes it one run.
type Inbox interface {
	// Keep stores k unless there is one of the same job. It returns what is stored.
	Keep(ctx context.Context, k Kept) (Kept, error)
	// Claim returns the job that has been due for the longest, and makes it due again at
	// until, so that nobody else gets it before that. It answers false when none is due at now.
	Claim(ctx context.Context, now, until time.Time) (Kept, bool, error)
	// Find returns the job of that id, and whether it is kept.
	Find(ctx context.Context, jobID string) (Kept, bool, error)
	// Postpone makes a job due at that time. One that is not kept stays so.
	Postpone(ctx context.Context, jobID string, due time.Time) error
	// Drop forgets a job, if it is kept.
	Drop(ctx context.Context, jobID string) error
	// Waiting returns how many are kept.
	Waiting(ctx context.Context) (int, error)
}

// A Kept is a job in an [Inbox].
type Kept struct {
	Message provision.Message
	Due     time.Time // not to be worked on before that
}
