package ledgertest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
)

// A Memory is a ledger that forgets when the process ends. The zero Memory is empty.
type Memory struct {
	memoryInbox
	mu       sync.Mutex
	records  map[string]dispatch.Record
	tally    dispatch.Tally
	refusals []dispatch.Refusal
}

var _ Ledger = (*Memory)(nil)

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

// LoadTally implements [dispatch.Slots].
func (m *Memory) LoadTally(ctx context.Context) (dispatch.Tally, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tally
	t.Now, t.Writes = time.Now(), slices.Clone(t.Writes)
	return t, ctx.Err()
}

// SaveTally implements [dispatch.Slots].
func (m *Memory) SaveTally(ctx context.Context, t dispatch.Tally) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil || m.tally.Version != t.Version {
		return false, ctx.Err()
	}
	t.Version++
	t.Writes = slices.Clone(t.Writes)
	m.tally = t
	return true, nil
}

// Refuse implements [dispatch.Refusals].
func (m *Memory) Refuse(ctx context.Context, r dispatch.Refusal) error {
	r, err := r.Bounded()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.ContainsFunc(m.refusals, func(o dispatch.Refusal) bool { return o.MessageID == r.MessageID }) {
		return ctx.Err()
	}
	r.Body = bytes.Clone(r.Body)
	m.refusals = append(m.refusals, r)
	return ctx.Err()
}

// Refusals implements [dispatch.Refusals].
func (m *Memory) Refusals(ctx context.Context, limit int) ([]dispatch.Refusal, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.refusals)
	slices.SortStableFunc(list, func(a, b dispatch.Refusal) int { return b.At.Compare(a.At) })
	return list[:max(0, min(limit, len(list)))], ctx.Err()
}
