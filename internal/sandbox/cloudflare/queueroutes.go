package cloudflare

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"time"
)

// inQueue lets h answer for a queue of the account alone. Reading a queue's consumers
// takes a token that may read; all else writes, a pull too. The codes are from
// https://developers.cloudflare.com/queues/reference/error-codes/, which does not give the
// statuses that go with them.
func (s *Server) inQueue(h func(*request, *queue) (any, error)) func(*request) (any, error) {
	return func(r *request) (any, error) {
		account, id := r.PathValue("account"), r.PathValue("queue")
		switch {
		case account != s.opts.AccountID, r.readOnly && r.Method != http.MethodGet:
			return nil, forbidden()
		case !isID(id):
			return nil, refuse(http.StatusBadRequest, 10107, "Malformed queue ID")
		}
		i := slices.IndexFunc(s.queues, func(q *queue) bool { return q.opts.ID == id })
		if i < 0 {
			return nil, refuse(http.StatusNotFound, 10104, "Queue does not exist")
		}
		q := s.queues[i]
		q.advance(s.opts.Now())
		return h(r, q)
	}
}

// listConsumers answers GET …/consumers.
func (s *Server) listConsumers(r *request, q *queue) (any, error) {
	consumer := map[string]any{
		"consumer_id": q.opts.ID, // any id will do
		"queue_name":  q.opts.Name, "created_on": s.created.UTC().Format(time.RFC3339Nano),
	}
	if q.opts.NoPull {
		consumer["type"], consumer["script"] = "worker", "consumer"
		consumer["settings"] = map[string]any{"batch_size": 10, "max_retries": 3, "max_wait_time_ms": 5000}
	} else {
		consumer["type"], consumer["dead_letter_queue"] = "http_pull", q.opts.DeadLetterQueue
		consumer["settings"] = map[string]any{
			"batch_size": q.opts.BatchSize, "max_retries": q.opts.MaxRetries,
			"retry_delay": seconds(q.opts.RetryDelay), "visibility_timeout_ms": q.opts.Visibility.Milliseconds(),
		}
	}
	r.info = map[string]int{"page": 1, "per_page": 100, "count": 1, "total_count": 1, "total_pages": 1}
	return []any{consumer}, nil
}

// pushMessage answers POST …/messages.
func (s *Server) pushMessage(r *request, q *queue) (any, error) {
	var in struct {
		Body  json.RawMessage `json:"body"`
		Type  string          `json:"content_type"`
		Delay float64         `json:"delay_seconds"`
	}
	if err := read(r.body, &in); err != nil {
		return nil, err
	}
	body := []byte(in.Body)
	switch in.Type {
	case "", "json":
		in.Type = "json"
		var compact bytes.Buffer
		if json.Compact(&compact, in.Body) == nil {
			body = compact.Bytes()
		}
	case "text":
		var text string
		if json.Unmarshal(in.Body, &text) != nil {
			return nil, badSchema()
		}
		body = []byte(text)
	default: // the others come from Workers
		return nil, refuse(http.StatusBadRequest, 10203, "Invalid message metadata")
	}
	if in.Body == nil || in.Delay != math.Trunc(in.Delay) {
		return nil, badSchema()
	}
	if _, err := q.send(s.opts.Now(), in.Type, body, time.Duration(in.Delay)*time.Second); err != nil {
		return nil, err
	}
	return map[string]any{"metadata": metrics(q)}, nil
}

// A delivered is a message in the answer to a pull.
type delivered struct {
	ID       string   `json:"id"`
	Body     string   `json:"body"`
	Attempts int      `json:"attempts"`
	Millis   int64    `json:"timestamp_ms"`
	Lease    string   `json:"lease_id"`
	Metadata metadata `json:"metadata"`
}

type metadata struct {
	ContentType string `json:"CF-Content-Type"`
	Source      string `json:"CF-sourceMessageSource"`
}

// pullMessages answers POST …/messages/pull.
func (s *Server) pullMessages(r *request, q *queue) (any, error) {
	in := struct {
		Size       float64 `json:"batch_size"`
		Visibility float64 `json:"visibility_timeout_ms"`
	}{float64(q.opts.BatchSize), float64(q.opts.Visibility.Milliseconds())}
	if err := pulled(r, q, &in); err != nil {
		return nil, err
	}
	switch {
	case in.Size < 1 || in.Size > maxBatch || in.Size != math.Trunc(in.Size):
		return nil, refuse(http.StatusBadRequest, 10206, "Batch count out of bounds")
	case in.Visibility < 0 || in.Visibility > float64(halfADay.Milliseconds()) || in.Visibility != math.Trunc(in.Visibility):
		return nil, badSchema()
	}
	list := []delivered{}
	for _, m := range q.deliver(s.opts.Now(), int(in.Size), time.Duration(in.Visibility)*time.Millisecond) {
		body := base64.StdEncoding.EncodeToString(m.body)
		if m.kind == "text" {
			body = string(m.body)
		}
		list = append(list, delivered{
			ID: m.id, Body: body, Attempts: m.attempts, Millis: m.sent.UnixMilli(), Lease: lease(m),
			Metadata: metadata{m.kind, "worker"},
		})
	}
	return map[string]any{"messages": list, "message_backlog_count": len(q.live), "metadata": metrics(q)}, nil
}

// metrics are what the answer to a push or a pull says about the queue.
func metrics(q *queue) map[string]any {
	oldest := int64(0)
	for _, m := range q.oldest {
		if m.state <= Leased {
			oldest = m.sent.UnixMilli()
			break
		}
	}
	return map[string]any{"metrics": map[string]any{
		"backlog_count": len(q.live), "backlog_bytes": q.bytes, "oldest_message_timestamp_ms": oldest,
	}}
}

// pulled reads the body of a request to a queue that has a pull consumer. That a queue
// without one is answered 405 is what people report; the code is a guess.
func pulled(r *request, q *queue, in any) error {
	if q.opts.NoPull {
		return refuse(http.StatusMethodNotAllowed, 10405, "HTTP pull is not enabled for this queue")
	}
	if len(bytes.TrimSpace(r.body)) == 0 {
		return nil
	}
	return read(r.body, in)
}

func read(body []byte, in any) error {
	switch {
	case !json.Valid(body):
		return refuse(http.StatusBadRequest, 10208, "Request body is not valid JSON")
	case json.Unmarshal(body, in) != nil:
		return badSchema()
	}
	return nil
}

func badSchema() error {
	return refuse(http.StatusBadRequest, 10207, "Request body does not match the expected schema")
}
