package cloudflare

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// leasePrefix makes a lease look like one of the vendor's, which say nothing to others.
const leasePrefix = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIn0.."

// lease names a delivery: the message's number and which attempt it was.
func lease(m *message) string { return fmt.Sprintf("%s%x.%x", leasePrefix, m.number, m.attempts) }

// settled is one entry of an acknowledgement.
type settled struct {
	Lease string   `json:"lease_id"`
	Delay *float64 `json:"delay_seconds"`
}

// ackMessages answers POST …/messages/ack.
func (s *Server) ackMessages(r *request, q *queue) (any, error) {
	var in struct{ Acks, Retries []settled }
	if err := pulled(r, q, &in); err != nil {
		return nil, err
	}
	if len(in.Acks)+len(in.Retries) > maxBatch {
		return nil, refuse(http.StatusBadRequest, 10206, "Batch count out of bounds")
	}
	for _, e := range in.Retries {
		if e.Delay != nil && (*e.Delay < 0 || *e.Delay > halfADay.Seconds() || *e.Delay != math.Trunc(*e.Delay)) {
			return nil, refuse(http.StatusBadRequest, 10203, "Invalid message metadata")
		}
	}
	warnings := map[string]string{}
	acks, retries := q.settle(in.Acks, in.Retries, s.opts.Now(), warnings)
	q.count.Ignored += len(warnings)
	return map[string]any{"ackCount": acks, "retryCount": retries, "warnings": warnings}, nil
}

// settle ends leases, warns of those that it does not know, and counts the others.
func (q *queue) settle(acks, retries []settled, now time.Time, warnings map[string]string) (acked, retried int) {
	const unknown = "the lease is not known or has expired"
	for _, e := range acks {
		m, current := q.leased(e.Lease)
		if m == nil || !current && !q.opts.LateAcks {
			warnings[e.Lease] = unknown
			continue
		}
		q.end(m, Acked)
		acked++
	}
	for _, e := range retries {
		m, current := q.leased(e.Lease)
		if !current {
			warnings[e.Lease] = unknown
			continue
		}
		delay := q.opts.RetryDelay
		if e.Delay != nil {
			delay = time.Duration(*e.Delay) * time.Second
		}
		q.again(m, now, delay)
		q.count.Retried++
		retried++
	}
	return acked, retried
}

// leased returns the message of a lease, nil if it is not in the queue, and whether the
// lease still holds.
func (q *queue) leased(lease string) (m *message, current bool) {
	rest, ok := strings.CutPrefix(lease, leasePrefix)
	first, second, _ := strings.Cut(rest, ".")
	number, err := strconv.ParseInt(first, 16, 64)
	attempt, err2 := strconv.ParseInt(second, 16, 64)
	if !ok || err != nil || err2 != nil {
		return nil, false
	}
	m = q.live[int(number)]
	if m == nil || int(attempt) > m.attempts {
		return nil, false
	}
	return m, m.state == Leased && int(attempt) == m.attempts
}
