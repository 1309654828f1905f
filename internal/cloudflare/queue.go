package cloudflare

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudflare/cloudflare-go"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// The vendor's limits.
// https://developers.cloudflare.com/queues/platform/limits/
const (
	maxBatch      = 100            // messages in a pull, and leases in an acknowledgement
	maxVisibility = 12 * time.Hour // of a lease
	maxDelay      = 12 * time.Hour // of a retry; another page of theirs says 24
	maxMessage    = 128_000        // bytes
)

// A Queue is one queue at Cloudflare, pulled over HTTP. The token needs Queues:Edit for the
// account: to pull is to write. A Queue is safe for concurrent use.
type Queue struct {
	BaseURL   string // of the API; empty for [DefaultBaseURL]
	AccountID string // of the account that the queue is in
	ID        string // the queue's id, not its name
	Token     string // an API token
	// HTTP is the client to use; nil for one of the default settings. Its redirects are
	// not followed: the token is for Cloudflare alone.
	HTTP *http.Client
	// Timeout bounds each request; 0 for 10 s.
	Timeout time.Duration
	// Ignored is told of each lease that Settle named and Cloudflare did not take, because it
	// has ended or is not known: the message comes again. lease is empty where Cloudflare
	// only says how many there were. nil for not being told.
	Ignored func(lease, why string)

	link link
}

// Pull returns up to max messages, 1 to 100, and leases each for the time visibility, which
// is at most 12 h; 0 for what the queue's consumer is set to. Nothing makes a lease longer.
// It does not wait for messages: a batch may be empty.
//
// Every message that Cloudflare hands out has one attempt fewer left. When the answer is
// lost, or does not fit into 32 MiB, its messages are leased all the same: they come again
// when visibility has ended, unless that was their last attempt.
//
// It answers [provision.NotFound] for a queue that is not there or has no pull consumer,
// and with a [*LimitError] where Cloudflare wants fewer requests.
func (q *Queue) Pull(ctx context.Context, max int, visibility time.Duration) (Batch, error) {
	body := struct {
		Size       int   `json:"batch_size"`
		Visibility int64 `json:"visibility_timeout_ms,omitempty"`
	}{clamp(max, 1, maxBatch), ceil(clamp(visibility, 0, maxVisibility), time.Millisecond)}
	var batch struct {
		Messages []wireMessage `json:"messages"`
		Backlog  float64       `json:"message_backlog_count"`
	}
	err := q.do(ctx, "pull from", http.MethodPost, "/messages/pull", body, &batch)
	if err != nil {
		return Batch{}, err
	}
	b := Batch{Backlog: int(batch.Backlog)}
	for _, m := range batch.Messages {
		b.Messages = append(b.Messages, m.delivery())
	}
	return b, nil
}

// A Retry gives a message back to the queue.
type Retry struct {
	Lease string
	// Delay is how long the queue keeps it back: 0 to 12 h, rounded up to whole seconds. 0
	// is at once, whatever the queue's consumer is set to.
	Delay time.Duration
}

// Settle acknowledges the messages of some leases, which ends them, and gives those of
// others back. A message settled by neither comes again when its lease ends. Cloudflare
// may or may not honour a lease that has ended; what it does not is told to Ignored and is
// no error. More than 100 leases take more than one request; after an error, settling all
// of them again is safe.
func (q *Queue) Settle(ctx context.Context, acks []string, retries []Retry) error {
	for len(acks)+len(retries) > 0 {
		n := min(len(acks), maxBatch)
		m := min(len(retries), maxBatch-n)
		if err := q.settle(ctx, acks[:n], retries[:m]); err != nil {
			return err
		}
		acks, retries = acks[n:], retries[m:]
	}
	return nil
}

func (q *Queue) settle(ctx context.Context, acks []string, retries []Retry) error {
	type lease struct {
		ID    string `json:"lease_id"`
		Delay *int64 `json:"delay_seconds,omitempty"`
	}
	body := struct {
		Acks    []lease `json:"acks"`
		Retries []lease `json:"retries"`
	}{[]lease{}, []lease{}}
	for _, id := range acks {
		body.Acks = append(body.Acks, lease{ID: id})
	}
	for _, r := range retries {
		seconds := ceil(clamp(r.Delay, 0, maxDelay), time.Second)
		body.Retries = append(body.Retries, lease{r.Lease, &seconds})
	}
	var done struct {
		Acks     *float64        `json:"ackCount"`
		Retries  *float64        `json:"retryCount"`
		Warnings json.RawMessage `json:"warnings"`
	}
	if err := q.do(ctx, "settle messages of", http.MethodPost, "/messages/ack", body, &done); err != nil {
		return err
	}
	if q.Ignored == nil {
		return nil
	}
	told := q.warn(done.Warnings)
	count := func(got *float64, want int, what string) {
		if got != nil && int(*got) < want && told == 0 {
			q.Ignored("", fmt.Sprintf("Cloudflare took %d of %d %s", int(*got), want, what))
		}
	}
	count(done.Acks, len(acks), "acknowledgements")
	count(done.Retries, len(retries), "retries")
	return nil
}

// warn passes warnings on and returns how many there are: by lease or, as older documents
// of the vendor have it, a list.
func (q *Queue) warn(warnings json.RawMessage) int {
	var byLease map[string]string
	if json.Unmarshal(warnings, &byLease) == nil {
		for id, why := range byLease {
			q.Ignored(id, clip(why, 200))
		}
		return len(byLease)
	}
	var list []string
	if json.Unmarshal(warnings, &list) == nil {
		for _, why := range list {
			q.Ignored("", clip(why, 200))
		}
	}
	return len(list)
}

// Push puts one message, a JSON value of at most 128 KB, into the queue, with the content
// type json. When the answer is lost the message may be there: pushing it again can make
// it two.
func (q *Queue) Push(ctx context.Context, body []byte) error {
	switch {
	case !json.Valid(body):
		return provision.Errorf(provision.Invalid, "a message for Cloudflare queue %s is not JSON", clip(q.ID, 40))
	case len(body) > maxMessage:
		return provision.Errorf(provision.Invalid, "a message of %d bytes for Cloudflare queue %s: the limit is %d", len(body), clip(q.ID, 40), maxMessage)
	}
	message := struct {
		Body json.RawMessage `json:"body"`
		Type string          `json:"content_type"`
	}{body, "json"}
	return q.do(ctx, "push to", http.MethodPost, "/messages", message, nil)
}

// do makes one request about the queue, and decodes its result unless that is nil.
func (q *Queue) do(ctx context.Context, doing, method, path string, body, result any) error {
	if err := checkID("account", q.AccountID); err != nil {
		return err
	}
	if err := checkID("queue", q.ID); err != nil {
		return err
	}
	doing += " Cloudflare queue " + q.ID
	err := q.link.call(ctx, terms{
		baseURL: q.BaseURL, token: q.Token, http: q.HTTP, timeout: q.Timeout,
		maxBody:   32 << 20, // 100 messages of 128 KB in base64 are 18 MB
		perSecond: 200,      // of one address: https://developers.cloudflare.com/fundamentals/api/reference/limits/
		denied:    "check that the Cloudflare API token is right, that it has Queues:Edit for this account, and that the account's id and the queue's are right",
	}, doing, func(ctx context.Context, api *cloudflare.API) error {
		raw, err := api.Raw(ctx, method, "/accounts/"+q.AccountID+"/queues/"+q.ID+path, body, nil)
		if err != nil || result == nil {
			return err
		}
		return json.Unmarshal(raw.Result, result)
	})
	return withoutPull(err)
}

func clamp[T int | time.Duration](n, low, high T) T { return min(max(n, low), high) }

// ceil returns how many units d has, rounded up.
func ceil(d, unit time.Duration) int64 { return int64((d + unit - 1) / unit) }
