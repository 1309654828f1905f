// Package standin is what the stand-ins for GitHub, Hetzner and Cloudflare share: the
// faults that a test can ask for, at any request, on either side of its effect.
package standin

import (
	"bytes"
	"maps"
	"net/http"
	"sync"
	"time"
)

// An Action is what goes wrong with one request. The zero Action lets it pass.
type Action struct {
	Before func()        // called before the request has had any effect
	After  func()        // called when it has had its effect, and nothing is answered yet
	Delay  time.Duration // waited between the effect and the answer
	Lose   bool          // the connection is reset instead of an answer
	// Status, Header and Body are answered in place of handling the request; Status 0
	// handles it.
	Status int
	Header http.Header
	Body   string
	// Handled handles the request all the same, and drops its own answer for that of Status.
	Handled bool
}

// Faults decide what goes wrong. The zero Faults let everything pass; they may be changed
// while requests are being served.
type Faults struct {
	mu     sync.Mutex
	decide func(*http.Request) Action
}

// Set makes decide choose what goes wrong with each request from now on; nil for nothing.
// It is called by one goroutine at a time.
func (f *Faults) Set(decide func(*http.Request) Action) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decide = decide
}

func (f *Faults) action(r *http.Request) Action {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.decide == nil {
		return Action{}
	}
	return f.decide(r)
}

// Wrap returns a handler that answers as h does, but for the faults.
func (f *Faults) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := f.action(r)
		if a.Before != nil {
			a.Before()
		}
		answer := recorder{header: http.Header{}}
		if a.Handled {
			h.ServeHTTP(&answer, r)
			answer = recorder{header: http.Header{}}
		}
		if a.Status != 0 {
			maps.Copy(answer.header, a.Header)
			answer.WriteHeader(a.Status)
			answer.body.WriteString(a.Body)
		} else {
			h.ServeHTTP(&answer, r)
		}
		if a.After != nil {
			a.After()
		}
		if a.Delay > 0 {
			t := time.NewTimer(a.Delay)
			defer t.Stop()
			select {
			case <-t.C:
			case <-r.Context().Done():
			}
		}
		if a.Lose {
			panic(http.ErrAbortHandler) // net/http's way to drop the connection
		}
		answer.send(w)
	})
}

// A recorder keeps an answer back until the faults have been decided.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *recorder) Header() http.Header { return a.header }

func (a *recorder) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *recorder) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

func (a *recorder) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	a.WriteHeader(http.StatusOK)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // a client that has gone away is its own affair
}
