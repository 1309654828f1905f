package github

import "sync"

// A Memory is what requests have taught about a server. The zero Memory knows nothing. It
// is safe for concurrent use.
type Memory struct {
	mu        sync.Mutex
	noDetails bool
	file      cached
}

// A cached is a workflow file as it was last answered, and under which ETag.
type cached struct {
	asked, etag string // asked: the address, with the ref; empty for nothing
	data        []byte
}

// nameless reports whether the server has refused to be asked for a run's id.
func (m *Memory) nameless() bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.noDetails
}

func (m *Memory) forbidDetails() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noDetails = true
}

// recall returns what was last answered to a question; zero if that was another.
func (m *Memory) recall(asked string) cached {
	if m == nil {
		return cached{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file.asked != asked {
		return cached{}
	}
	return m.file
}

func (m *Memory) keep(c cached) {
	if m == nil || c.etag == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.file = c
}
