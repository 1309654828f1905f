package cloudflare

import (
	"cmp"
	"container/heap"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The vendor's limits, where a KB is 1,000 bytes.
// https://developers.cloudflare.com/queues/platform/limits/
const (
	maxMessage  = 128_000 - 100 // bytes: about 100 are the vendor's own
	maxBatch    = 100           // messages
	maxTogether = 256_000       // bytes of a batch
	halfADay    = 12 * time.Hour
)

// A message is one in a queue. A copy of it has a number of its own, and the same id.
type message struct {
	number   int // the place in fates
	id       string
	kind     string
	body     []byte
	sent     time.Time
	attempts int
	state    State
	due      time.Time // of one that waits
	place    int       // among those that wait
}

// A queue holds its messages. It is not safe for concurrent use.
type queue struct {
	opts    QueueOptions
	dead    *queue // nil for none
	prefix  string // 16 digits of every id
	fates   []State
	live    map[int]*message
	ready   []*message  // with some that have gone meanwhile
	waiting waiting     // delayed or leased
	oldest  []*message  // by age, with some that have gone meanwhile
	has     [states]int // messages, by state
	bytes   int         // of the bodies
	random  *rand.Rand
	count   Counts
}

// addQueue makes a queue, and its dead-letter queue.
func (s *Server) addQueue(o QueueOptions) *queue {
	q := s.queueNamed(o.Name)
	if q == nil {
		q = &queue{live: map[int]*message{}, prefix: randomID()[:16], random: rand.New(rand.NewPCG(1, uint64(len(s.queues))))}
		s.queues = append(s.queues, q)
	}
	o.ID = cmp.Or(o.ID, q.opts.ID, randomID())
	o.MaxRetries = cmp.Or(o.MaxRetries, 3)
	o.BatchSize = cmp.Or(o.BatchSize, 5)
	o.Visibility = cmp.Or(o.Visibility, 30*time.Second)
	o.Retention = cmp.Or(o.Retention, 4*24*time.Hour)
	q.opts = o
	if o.DeadLetterQueue != "" {
		if q.dead = s.queueNamed(o.DeadLetterQueue); q.dead == nil {
			q.dead = s.addQueue(QueueOptions{Name: o.DeadLetterQueue, NoPull: true})
		}
	}
	return q
}

func (s *Server) queueNamed(name string) *queue {
	i := slices.IndexFunc(s.queues, func(q *queue) bool { return q.opts.Name == name })
	if i < 0 {
		return nil
	}
	return s.queues[i]
}

// send adds a message.
func (q *queue) send(now time.Time, kind string, body []byte, delay time.Duration) (string, error) {
	switch {
	case !slices.Contains([]string{"json", "text", "bytes", "v8"}, kind), delay < 0, delay > halfADay:
		return "", refuse(http.StatusBadRequest, 10203, "Invalid message metadata")
	case kind == "json" && !json.Valid(body):
		return "", refuse(http.StatusBadRequest, 10207, "Request body does not match the expected schema")
	case len(body) > maxMessage:
		return "", refuse(http.StatusRequestEntityTooLarge, 10204, "Message size out of bounds")
	}
	q.advance(now)
	m := q.add(&message{kind: kind, body: slices.Clone(body), sent: now})
	m.id = fmt.Sprintf("%s%016x", q.prefix, m.number)
	q.count.Sent++
	q.put(m, now, delay)
	return m.id, nil
}

// add gives m its number.
func (q *queue) add(m *message) *message {
	m.number = len(q.fates)
	q.fates = append(q.fates, Ready)
	q.has[Ready]++
	q.live[m.number] = m
	q.oldest = append(q.oldest, m)
	q.bytes += len(m.body)
	return m
}

// number returns the number in an id of this queue.
func (q *queue) number(id string) (int, bool) {
	digits, ok := strings.CutPrefix(id, q.prefix)
	n, err := strconv.ParseUint(digits, 16, 62)
	return int(n), ok && err == nil && int(n) < len(q.fates)
}

// put makes m available after delay.
func (q *queue) put(m *message, now time.Time, delay time.Duration) {
	if delay > 0 {
		q.wait(m, Delayed, now.Add(delay))
		return
	}
	q.set(m, Ready)
	q.ready = append(q.ready, m)
}

// wait keeps m back until due.
func (q *queue) wait(m *message, state State, due time.Time) {
	q.set(m, state)
	m.due = due
	heap.Push(&q.waiting, m)
}

func (q *queue) set(m *message, s State) {
	q.has[m.state]--
	q.has[s]++
	m.state, q.fates[m.number] = s, s
}

// end takes m out of the queue.
func (q *queue) end(m *message, s State) {
	if m.state == Leased || m.state == Delayed {
		heap.Remove(&q.waiting, m.place)
	}
	q.set(m, s)
	delete(q.live, m.number)
	q.bytes -= len(m.body)
	m.body = nil
}

// again gives a delivered message back, or away if it has no attempts left.
func (q *queue) again(m *message, now time.Time, delay time.Duration) {
	if m.attempts < q.opts.MaxRetries {
		heap.Remove(&q.waiting, m.place)
		q.put(m, now, delay)
		return
	}
	if q.dead == nil {
		q.end(m, Deleted)
		return
	}
	// What it was can be sent: it has been before.
	_, _ = q.dead.send(now, m.kind, m.body, 0)
	q.end(m, DeadLettered)
}

// advance does what has become due: delays and leases end, old messages go.
func (q *queue) advance(now time.Time) {
	for len(q.waiting) > 0 && !q.waiting[0].due.After(now) {
		m := q.waiting[0]
		if m.state == Leased {
			q.count.LeasesLost++
			q.again(m, m.due, q.opts.RetryDelay)
			continue
		}
		heap.Pop(&q.waiting)
		q.put(m, now, 0)
	}
	for len(q.oldest) > 0 {
		m := q.oldest[0]
		gone := m.state > Leased
		if !gone && m.sent.Add(q.opts.Retention).After(now) {
			break
		}
		if !gone {
			q.end(m, Expired)
		}
		q.oldest = q.oldest[1:]
	}
}

// counts returns the figures.
func (q *queue) counts() Counts {
	c := q.count
	c.Ready, c.Delayed, c.Leased = q.has[Ready], q.has[Delayed], q.has[Leased]
	c.Acked, c.DeadLettered, c.Deleted, c.Expired = q.has[Acked], q.has[DeadLettered], q.has[Deleted], q.has[Expired]
	return c
}

// list returns the messages, oldest first.
func (q *queue) list() []Message {
	list := make([]Message, 0, len(q.live))
	for _, m := range q.oldest {
		if m.state <= Leased {
			list = append(list, Message{m.id, m.state, m.attempts, m.sent, m.due, m.kind, slices.Clone(m.body)})
		}
	}
	return list
}
