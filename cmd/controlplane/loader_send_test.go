package main

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A reply is what came back.
type reply struct {
	status   int
	header   http.Header
	body     []byte
	doubtful bool // the same was sent before, and may have been heard
}

// send sends a request until it is answered, and wants one of the statuses. The reply is
// zero when ctx has ended.
func (l *loader) send(ctx context.Context, method, path, body, key string, want ...int) reply {
	for tries := 0; ; tries++ {
		url := l.at.get(ctx)
		if ctx.Err() != nil {
			return reply{}
		}
		a, err := l.once(ctx, method, url+path, body, key)
		a.doubtful = tries > 0
		switch {
		case err != nil || a.status == http.StatusServiceUnavailable:
			wait(ctx, 5*time.Millisecond)
			continue
		case !slices.Contains(want, a.status):
			l.t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
		}
		l.answered.Add(1)
		return a
	}
}

// once sends a request once. Without the whole of an answer there is an error.
func (l *loader) once(ctx context.Context, method, url, body, key string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Authorization", "Bearer "+crashKey)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, header: resp.Header, body: data}, err
}

// wait waits for d, or the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// An address is where the control plane listens at the moment, if it does.
type address struct {
	mu      sync.Mutex
	url     string
	changed chan struct{} // closed when url is set; nil when nobody waits
}

func (a *address) set(url string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.url = url
	if url != "" && a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// get waits until there is one.
func (a *address) get(ctx context.Context) string {
	for {
		a.mu.Lock()
		url := a.url
		if a.changed == nil {
			a.changed = make(chan struct{})
		}
		changed := a.changed
		a.mu.Unlock()
		if url != "" {
			return url
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ""
		}
	}
}
