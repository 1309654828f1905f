package cloudflare

import "time"

// deliver leases up to n messages that are ready. Their order is not that in which they
// were sent: the vendor does not promise one.
func (q *queue) deliver(now time.Time, n int, visibility time.Duration) []*message {
	const window = 32
	var batch []*message
	together := 0
	for len(q.ready) > 0 && len(batch) < n {
		i := q.random.IntN(min(len(q.ready), window))
		q.ready[0], q.ready[i] = q.ready[i], q.ready[0]
		m := q.ready[0]
		if m.state == Ready {
			if together += len(m.body); together > maxTogether && len(batch) > 0 {
				break
			}
			m.attempts++
			q.wait(m, Leased, now.Add(visibility))
			batch = append(batch, m)
			if q.count.Delivered++; q.opts.DuplicateEvery > 0 && q.count.Delivered%q.opts.DuplicateEvery == 0 {
				q.count.Duplicated++
				q.put(q.add(&message{id: m.id, kind: m.kind, body: m.body, sent: m.sent}), now, 0)
			}
		}
		q.ready[0] = nil
		q.ready = q.ready[1:]
	}
	if q.count.Pulls++; len(batch) == 0 {
		q.count.EmptyPulls++
	}
	return batch
}

// waiting is a heap, with what is due first on top.
type waiting []*message

func (w waiting) Len() int           { return len(w) }
func (w waiting) Less(i, j int) bool { return w[i].due.Before(w[j].due) }
func (w waiting) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].place, w[j].place = i, j
}
func (w *waiting) Push(m any) {
	m.(*message).place = len(*w)
	*w = append(*w, m.(*message))
}
func (w *waiting) Pop() any {
	last := len(*w) - 1
	m := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	return m
}
