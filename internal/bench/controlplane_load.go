package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A load is requests on connections that stay open, each with one request at a time. It is
// as little work as it can be: it runs on the processors of those that it measures.
type load struct {
	addr    string
	conns   int
	status  int                  // of every answer; another one is an error
	request func(n int64) []byte // the nth, from 1; must be safe for concurrent use
	count   int64                // how many requests; 0 for as many as there is time for
}

// A result is what came of a load.
type result struct {
	requests int
	took     time.Duration
	p50, p99 time.Duration
	cpu      time.Duration // of the side's process, which is not the one that makes the load
}

func (r result) rate() float64 { return float64(r.requests) / r.took.Seconds() }
func (r result) each() float64 { return r.cpu.Seconds() / float64(r.requests) }

// patience is how long an answer may take.
const patience = 30 * time.Second

// run loads addr for a time d, or until all requests are answered when they are counted.
func (l load) run(ctx context.Context, d time.Duration) (result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var n atomic.Int64
	times := make([][]time.Duration, l.conns)
	start := time.Now()
	end := start.Add(d)
	var all sync.WaitGroup
	for i := range l.conns {
		all.Go(func() {
			var err error
			if times[i], err = l.connection(ctx, &n, end); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return summary(slices.Concat(times...), time.Since(start)), context.Cause(ctx)
}

// connection sends one request after another, and returns what each has taken.
func (l load) connection(ctx context.Context, n *atomic.Int64, end time.Time) (times []time.Duration, err error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	r := bufio.NewReaderSize(c, 32<<10)
	for ctx.Err() == nil {
		i, begin := n.Add(1), time.Now()
		if l.count > 0 && i > l.count || l.count == 0 && begin.After(end) {
			return times, nil
		}
		if err := c.SetDeadline(begin.Add(patience)); err != nil {
			return nil, err
		}
		if _, err := c.Write(l.request(i)); err != nil {
			return nil, err
		}
		status, err := answer(r)
		if err != nil {
			return nil, err
		}
		if l.status != 0 && status != l.status {
			return nil, fmt.Errorf("the status is %d, want %d", status, l.status)
		}
		times = append(times, time.Since(begin))
	}
	return times, nil
}

// answer reads an answer of HTTP/1.1 and forgets it but for its status.
func answer(r *bufio.Reader) (status int, err error) {
	length, chunked := 0, false
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		text := strings.TrimRight(string(line), "\r\n")
		name, value, _ := strings.Cut(text, ":")
		switch {
		case first:
			if status, err = strconv.Atoi(text[min(9, len(text)):min(12, len(text))]); err != nil {
				return 0, fmt.Errorf("the answer begins with %.40q", text)
			}
		case text == "":
			return status, discard(r, length, chunked)
		case strings.EqualFold(name, "Content-Length"):
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return 0, err
			}
		case strings.EqualFold(name, "Transfer-Encoding"):
			chunked = true
		}
	}
}

func discard(r *bufio.Reader, length int, chunked bool) error {
	if !chunked {
		_, err := r.Discard(length)
		return err
	}
	if _, err := io.Copy(io.Discard, httputil.NewChunkedReader(r)); err != nil {
		return err
	}
	_, err := r.Discard(len("\r\n")) // there is no trailer
	return err
}

// post is a request, as it goes over the wire. key is an Idempotency-Key; empty for none.
func post(path, body, key string) []byte {
	if key != "" {
		key = "Idempotency-Key: " + key + "\r\n"
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
		path, benchKey, key, len(body), body)
}

func summary(times []time.Duration, took time.Duration) result {
	r := result{requests: len(times), took: took}
	if len(times) > 0 {
		slices.Sort(times)
		r.p50, r.p99 = times[len(times)/2], times[(len(times)*99-1)/100]
	}
	return r
}

// middleOf returns the median of each figure.
func middleOf(list []result) result {
	by := func(less func(a, b result) int) result {
		return slices.SortedFunc(slices.Values(list), less)[len(list)/2]
	}
	m := by(func(a, b result) int { return cmp.Compare(a.rate(), b.rate()) })
	m.cpu = time.Duration(by(func(a, b result) int { return cmp.Compare(a.each(), b.each()) }).each() * float64(m.requests) * float64(time.Second))
	m.p50 = by(func(a, b result) int { return cmp.Compare(a.p50, b.p50) }).p50
	m.p99 = by(func(a, b result) int { return cmp.Compare(a.p99, b.p99) }).p99
	return m
}

// extremes returns the lowest and the highest rate.
func extremes(list []result) (least, most float64) {
	rates := make([]float64, len(list))
	for i, r := range list {
		rates[i] = r.rate()
	}
	return slices.Min(rates), slices.Max(rates)
}
