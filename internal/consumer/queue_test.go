package consumer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/consumer"
)

// A queue is one in memory, with leases that end, attempts that are counted, and a
// dead-letter queue.
type queue struct {
	maxRetries int           // the attempt after which a message is dead; 0 for none
	retention  time.Duration // 0 for ever

	mu       sync.Mutex
	messages []*item
	dead     []*item
	leases   map[string]*item
	issued   int
	pulls    int
	settles  int
	late     int // settled after their lease
	fail     func(call string) error
	lose     func() error  // after the effect of a pull
	lag      time.Duration // between the effect of a pull and its answer
	hang     bool          // calls never end
}

type item struct {
	id       string
	body     []byte
	attempts int
	sent     time.Time
	visible  time.Time
	lease    string
	broken   error
}

var _ consumer.Queue = (*queue)(nil)

// put adds a message for each body.
func (q *queue) put(bodies ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range bodies {
		q.messages = append(q.messages, &item{id: fmt.Sprint("m", q.issued), body: []byte(b), sent: time.Now()})
		q.issued++
	}
}

func (q *queue) trouble(ctx context.Context, call string) error {
	if q.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if q.fail != nil {
		return q.fail(call)
	}
	return nil
}

func (q *queue) Pull(ctx context.Context, n int, visibility time.Duration) (consumer.Batch, error) {
	b, err := q.pull(ctx, n, visibility)
	if err == nil && q.lose != nil {
		err = q.lose()
	}
	select {
	case <-time.After(q.lag):
		return b, err
	case <-ctx.Done():
		return consumer.Batch{}, ctx.Err()
	}
}

func (q *queue) pull(ctx context.Context, n int, visibility time.Duration) (consumer.Batch, error) {
	q.mu.Lock()
	q.pulls++
	q.mu.Unlock()
	if err := q.trouble(ctx, "pull"); err != nil {
		return consumer.Batch{}, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	b := consumer.Batch{Backlog: len(q.messages)}
	for _, m := range slices.Clone(q.messages) {
		if len(b.Messages) == n || time.Now().Before(m.visible) {
			continue
		}
		if q.retention > 0 && time.Since(m.sent) >= q.retention {
			q.remove(m)
			continue
		}
		if q.maxRetries > 0 && m.attempts >= q.maxRetries {
			q.dead = append(q.dead, m)
			q.remove(m)
			continue
		}
		q.issued++
		m.attempts++
		m.visible, m.lease = time.Now().Add(visibility), fmt.Sprint("lease", q.issued)
		if q.leases == nil {
			q.leases = map[string]*item{}
		}
		q.leases[m.lease] = m
		b.Messages = append(b.Messages, consumer.Message{ID: m.id, Lease: m.lease, Attempts: m.attempts, At: m.sent, Body: m.body, Unreadable: m.broken})
	}
	return b, nil
}

func (q *queue) Settle(ctx context.Context, acks []string, retries []consumer.Retry) error {
	q.mu.Lock()
	q.settles++
	q.mu.Unlock()
	if err := q.trouble(ctx, "settle"); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(acks)+len(retries) > 100 {
		return errors.New("more than 100 leases")
	}
	end := func(lease string) *item {
		m := q.leases[lease]
		if m == nil || m.lease != lease || !time.Now().Before(m.visible) {
			q.late++
			return nil
		}
		m.lease = ""
		return m
	}
	for _, lease := range acks {
		if m := end(lease); m != nil {
			q.remove(m)
		}
	}
	for _, r := range retries {
		if r.Delay < 0 || r.Delay > 12*time.Hour {
			return fmt.Errorf("a delay of %v", r.Delay)
		}
		if m := end(r.Lease); m != nil {
			m.visible = time.Now().Add(r.Delay)
		}
	}
	return nil
}

func (q *queue) remove(m *item) {
	q.messages = slices.DeleteFunc(q.messages, func(o *item) bool { return o == m })
}

// left returns how many messages are in the queue, how many of them are leased, and how
// many are in the dead-letter queue.
func (q *queue) left() (messages, leased, dead int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.messages {
		if m.lease != "" && time.Now().Before(m.visible) {
			leased++
		}
	}
	return len(q.messages), leased, len(q.dead)
}

// message is the n'th good message.
func message(n int) string {
	b, err := json.Marshal(map[string]string{"job_id": fmt.Sprint("job-", n), "tenant_id": fmt.Sprint("t-", n), "region": "sg",
		"create_new_server": "true", "subdomain_slug": fmt.Sprint("t-", n), "canonical_hostname": fmt.Sprintf("t-%d.pregoi.com", n)})
	if err != nil {
		panic(err)
	}
	return string(b)
}
