package server

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// maxClients is how many clients the limiter remembers. When there are more, the one that
// was quiet the longest is forgotten.
const maxClients = 100_000

// A limiter gives every client a bucket of tokens that fills up again as time goes by.
type limiter struct {
	every time.Duration // a token comes after that; 0 for no limit
	burst int           // tokens that a bucket holds

	mu      sync.Mutex
	clients map[netip.Prefix]*list.Element // of *bucket
	used    list.List                      // the last one used first
}

// A bucket is full at the time full. Each token that was taken from it moves that further on.
type bucket struct {
	client netip.Prefix
	full   time.Time
}

// newLimiter returns one with n tokens in each period, and any number where n is not positive.
func newLimiter(n int, period time.Duration, burst int) *limiter {
	l := &limiter{burst: burst, clients: map[netip.Prefix]*list.Element{}}
	if n > 0 {
		l.every = period / time.Duration(n)
	}
	return l
}

// take takes a token for the client. Where there is none it answers after what time there
// will be one.
func (l *limiter) take(client netip.Prefix, now time.Time) (wait time.Duration) {
	if l.every == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.clients[client]
	if !ok {
		e = l.used.PushFront(&bucket{client: client})
		l.clients[client] = e
		if l.used.Len() > maxClients {
			last := l.used.Back()
			delete(l.clients, l.used.Remove(last).(*bucket).client)
		}
	}
	l.used.MoveToFront(e)
	b := e.Value.(*bucket)
	full := b.full
	if full.Before(now) {
		full = now
	}
	full = full.Add(l.every)
	if wait = full.Sub(now) - time.Duration(l.burst)*l.every; wait > 0 {
		return wait
	}
	b.full = full
	return 0
}
