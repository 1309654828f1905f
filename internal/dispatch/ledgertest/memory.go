package ledgertest

import (
	"context"
	"sync"

	"github.com/pregoi/provision-tenant/internal/dispatch"
)

// A Memory is a ledger that forgets when the process ends. The zero Memory is empty.
type Memory struct {
	mu      sync.Mutex
	records map[string]dispatch.Record
}

var _ dispatch.Ledger = (*Memory)(nil)

// Load implements [dispatch.Ledger].
func (m *Memory) Load(ctx context.Context, jobID string) (dispatch.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.records[jobID], ctx.Err()
}

// Save implements [dispatch.Ledger].
func (m *Memory) Save(ctx context.Context, r dispatch.Record) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil || m.records[r.JobID].Version != r.Version {
		return false, ctx.Err()
	}
	if m.records == nil {
		m.records = map[string]dispatch.Record{}
	}
	r.Version++
	m.records[r.JobID] = r
	return true, nil
}
