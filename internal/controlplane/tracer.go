package controlplane

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Tracer delivers a job's events in the background, in order. It satisfies the
// pipeline's Tracer. Close must be called, or its goroutine stays.
type Tracer struct {
	client *Client
	cancel context.CancelFunc
	wake   chan struct{} // told that there is something to do
	done   chan struct{} // closed when nothing more is delivered
	// closing is closed by Close: what is left is delivered without long pauses.
	closing chan struct{}

	mu      sync.Mutex
	queue   []provision.Event
	closed  bool
	dropped []Dropped
}

// A Dropped event is one that was not delivered.
type Dropped struct {
	Event provision.Event
	Err   error // why
}

const (
	// maxQueue is how many events wait at most. A run has about a dozen.
	maxQueue = 1024
	// maxBatch is how many are sent at once.
	maxBatch = 50
)

// NewTracer starts a tracer that delivers to c. A cancelled ctx does not stop it: what
// happened is worth telling then too.
func NewTracer(ctx context.Context, c *Client) *Tracer {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &Tracer{client: c, cancel: cancel, wake: make(chan struct{}, 1), done: make(chan struct{}), closing: make(chan struct{})}
	go t.deliver(ctx)
	return t
}

// Emit takes an event for delivery, and never waits. Where too many wait already, or
// after Close, the event is dropped.
func (t *Tracer) Emit(e provision.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		t.drop(e, provision.Errorf(provision.Cancelled, "the tracer was closed"))
	case len(t.queue) >= maxQueue:
		t.drop(e, provision.Errorf(provision.Busy, "%d events wait already", maxQueue))
	default:
		t.queue = append(t.queue, e)
		t.signal()
	}
}

// drop remembers an event that is lost; t.mu is held. Beyond a limit it only forgets.
func (t *Tracer) drop(e provision.Event, err error) {
	if len(t.dropped) < maxQueue {
		t.dropped = append(t.dropped, Dropped{e, err})
	}
}

func (t *Tracer) signal() {
	select {
	case t.wake <- struct{}{}:
	default: // told already
	}
}

// Close delivers what waits, for as long as ctx lets it, and returns what was dropped in
// the tracer's life. It may be called again.
func (t *Tracer) Close(ctx context.Context) []Dropped {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.closing)
		t.signal()
	}
	t.mu.Unlock()
	select {
	case <-t.done:
	case <-ctx.Done():
		t.cancel()
		<-t.done
	}
	t.cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped
}

// deliver sends batches until the tracer is closed and nothing waits, or ctx is done.
func (t *Tracer) deliver(ctx context.Context) {
	defer close(t.done)
	for {
		batch, closed := t.next()
		switch {
		case len(batch) > 0:
			t.send(ctx, batch)
		case closed:
			return
		default:
			select {
			case <-t.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

// next takes what is to be sent from the queue.
func (t *Tracer) next() (batch []provision.Event, closed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(t.queue), maxBatch)
	batch, t.queue = t.queue[:n:n], t.queue[n:]
	return batch, t.closed
}

// send delivers a batch, and tries again for as long as that can help. Of a batch that is
// refused, each event is sent alone, so that one bad event takes no other with it.
func (t *Tracer) send(ctx context.Context, batch []provision.Event) {
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		err := t.client.PostEvents(ctx, batch)
		switch {
		case err == nil:
			return
		case provision.ClassOf(err) == provision.Busy && t.pause(ctx, pause):
			continue
		case len(batch) > 1 && ctx.Err() == nil:
			for i := range batch {
				t.send(ctx, batch[i:i+1])
			}
			return
		}
		t.mu.Lock()
		for _, e := range batch {
			t.drop(e, err)
		}
		t.mu.Unlock()
		return
	}
}

// pause reports whether ctx let it pause. Once the tracer is being closed no pause is long.
func (t *Tracer) pause(ctx context.Context, d time.Duration) bool {
	closing := t.closing
	select {
	case <-closing:
		closing, d = nil, min(d, cmp.Or(t.client.Pause, defPause))
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-closing:
	case <-timer.C:
	}
	return true
}
