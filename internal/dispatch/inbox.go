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
	// Keep stores k unless there is one of the same job; one that k [Kept.Supersedes] it
	// replaces. It returns what is stored.
	Keep(ctx context.Context, k Kept) (Kept, error)
	// Claim returns the job that has been due for the longest, and makes it due again at
	// until, so that nobody else gets it before that. It answers false when none is due at now.
	Claim(ctx context.Context, now, until time.Time) (Kept, bool, error)
	// Find returns the job of that id, and whether it is kept.
	Find(ctx context.Context, jobID string) (Kept, bool, error)
	// Postpone makes k due at that time, if that attempt of the job is still kept.
	Postpone(ctx context.Context, k Kept, due time.Time) error
	// Drop forgets k, if that attempt of the job is still kept.
	Drop(ctx context.Context, k Kept) error
	// Waiting returns how many are kept.
	Waiting(ctx context.Context) (int, error)
}

// A Kept is a job in an [Inbox].
type Kept struct {
	Message provision.Message
	Due     time.Time // not to be worked on before that
}

// Supersedes reports whether k is a later attempt of the job that old is, with the same content.
func (k Kept) Supersedes(old Kept) bool {
	job, err := k.Message.Job()
	was, e := old.Message.Job()
	return err == nil && e == nil && Fingerprint(job) == Fingerprint(was) && job.Attempt > was.Attempt
}
