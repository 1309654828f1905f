package cloudflare

import (
	"cmp"
	"fmt"
	"time"
)

// QueueOptions choose how one queue behaves. The zero value but for Name is a queue with a
// pull consumer as the vendor sets one up, and no dead-letter queue.
//
// https://developers.cloudflare.com/queues/configuration/pull-consumers/
type QueueOptions struct {
	Name string
	ID   string // 32 hexadecimal digits; empty for random ones
	// NoPull leaves the queue without a pull consumer.
	NoPull bool
	// DeadLetterQueue is the name of the queue that takes what has used up its attempts;
	// empty to delete it. One that Options do not name is made, without a pull consumer.
	DeadLetterQueue string
	// MaxRetries is the number of attempts at which a message is not delivered again; 0 for
	// the vendor's 3. The first delivery counts.
	MaxRetries int
	BatchSize  int           // of a pull that does not say; 0 for 5
	Visibility time.Duration // of a pull that does not say; 0 for 30 s
	RetryDelay time.Duration // of a lease that ends, and of a retry that does not say
	Retention  time.Duration // 0 for 4 days
	// DuplicateEvery makes every so manieth delivery leave a second copy of its message in
	// the queue, with the same id; 0 for none.
	DuplicateEvery int
	// LateAcks takes the acknowledgement of a lease that has ended, even when the message
	// has been delivered again. The vendor's document says that it does, and a few lines
	// before that such a lease is not valid: without LateAcks it is ignored, with a warning.
	LateAcks bool
}

// A State is what has become of a message.
type State uint8

// The states. The first three are of messages in the queue.
const (
	Ready        State = iota
	Delayed            // kept back for a time
	Leased             // delivered, and not settled yet
	Acked              // settled
	DeadLettered       // moved to the dead-letter queue
	Deleted            // out of attempts, where there is no dead-letter queue
	Expired            // older than the retention
	states
)

func (s State) String() string {
	return [states]string{"ready", "delayed", "leased", "acked", "dead-lettered", "deleted", "expired"}[s]
}

// A Message is one that is in a queue.
type Message struct {
	ID          string
	State       State // Ready, Delayed or Leased
	Attempts    int   // deliveries so far
	Sent        time.Time
	Due         time.Time // when the delay or the lease ends
	ContentType string
	Body        []byte
}

// Counts are what a queue has and what it did.
type Counts struct {
	Ready, Delayed, Leased                int // messages now
	Sent                                  int // messages, copies not counted
	Delivered                             int // deliveries
	Duplicated                            int // copies made by DuplicateEvery
	Acked, DeadLettered, Deleted, Expired int // messages that ended so, each copy by itself
	Retried                               int // given back
	LeasesLost                            int // leases that ended by themselves
	Ignored                               int // leases named in an acknowledgement that was not taken
	Pulls, EmptyPulls                     int
}

// QueueID returns the id of the queue called name; empty if there is none.
func (s *Server) QueueID(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queueNamed(name); q != nil {
		return q.opts.ID
	}
	return ""
}

// Send puts a message into the queue called name, as a producer in a Worker does, and
// returns its id. contentType is json (also if empty), text, bytes or v8.
func (s *Server) Send(name, contentType string, body []byte) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queueNamed(name)
	if q == nil {
		return "", fmt.Errorf("no queue is called %q", name)
	}
	return q.send(s.opts.Now(), cmp.Or(contentType, "json"), body, 0)
}

// Messages returns what is in the queue called name, in the order in which it was sent.
func (s *Server) Messages(name string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queueNamed(name)
	if q == nil {
		return nil
	}
	q.advance(s.opts.Now())
	return q.list()
}

// Fate returns what has become of the message of that id; ok is false if the queue called
// name never had it. Of a message with copies it speaks of the first.
func (s *Server) Fate(name, id string) (state State, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queueNamed(name)
	if q == nil {
		return 0, false
	}
	q.advance(s.opts.Now())
	number, ok := q.number(id)
	if !ok {
		return 0, false
	}
	return q.fates[number], true
}

// Counts returns the figures of the queue called name.
func (s *Server) Counts(name string) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queueNamed(name)
	if q == nil {
		return Counts{}
	}
	q.advance(s.opts.Now())
	return q.counts()
}
