package main

import (
	"context"
	"strconv"

	"github.com/pregoi/provision-tenant/internal/dispatch"
)

// An attemptLedger keeps each attempt of a job apart from those before it, so that a retry
// starts a run although the ledger has one of that job.
type attemptLedger struct {
	dispatch.Ledger
	attempt int
}

func (l attemptLedger) key(jobID string) string {
	if l.attempt <= 1 {
		return jobID
	}
	return jobID + "#" + strconv.Itoa(l.attempt) // which no job_id holds
}

// Load implements [dispatch.Ledger].
func (l attemptLedger) Load(ctx context.Context, jobID string) (dispatch.Record, error) {
	r, err := l.Ledger.Load(ctx, l.key(jobID))
	if r.Version > 0 {
		r.JobID = jobID
	}
	return r, err
}

// Save implements [dispatch.Ledger].
func (l attemptLedger) Save(ctx context.Context, r dispatch.Record) (bool, error) {
	r.JobID = l.key(r.JobID)
	return l.Ledger.Save(ctx, r)
}
