package consumer

import (
	"sync"
	"time"
)

// Stats count since the start, but for Backlog and Held.
type Stats struct {
	Backlog  int // messages in the queue, as it last said
	Held     int // messages that are leased by this process
	Pulls    int
	Pulled   int // messages
	Acked    int // messages whose run is on record; Known is part of it
	Known    int // those whose run was on record already
	Poisoned int // messages that can never become a run
	// Messages given back: until a time that is known, because of a fault of all messages,
	// after another error, and because the process ends or their lease does.
	Later, Faulted, Failed, Released int
	Spent                            int // messages given back that may not be delivered again; part of those above
	QueueErrors                      int // failed requests to the queue
	LastPull                         time.Time
}

// Retried is how many messages were given back, but for poison.
func (s Stats) Retried() int { return s.Later + s.Faulted + s.Failed + s.Released }

// Stats returns the numbers of the moment.
func (c *Consumer) Stats() Stats {
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	return c.counts.Stats
}

type counts struct {
	mu sync.Mutex
	Stats
}

func (c *Consumer) count(f func(*Stats)) {
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	f(&c.counts.Stats)
}
