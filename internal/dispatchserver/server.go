// Package dispatchserver is the dispatcher's HTTP: messages from those who cannot link Go,
// what has become of a job, and what keeps an operator informed.
//
// A message is on disk before it is answered for: see [dispatch.Inbox]. Workers take it
// from there, also after a restart, and the request that brought it waits a few seconds
// for what they have to say. To add a route, write its line in Handler and its method; a
// method returns a classified error, and problem.go alone knows which status that is.
package dispatchserver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// MinKey is the length below which a key is refused: 32 characters, as no shorter one
// withstands guessing.
const MinKey = 32

// A Server answers the dispatcher's routes. Make one with [New].
type Server struct {
	Config
	wake chan struct{} // told that a job is kept
	over chan struct{} // closed when nothing more is waited for

	mu      sync.Mutex
	waiters map[string][]*waiter // by job_id: those who want to know
}

// Config is what a Server needs.
type Config struct {
	// Key is what callers must bear, INTERNAL_API_KEY: at least [MinKey] characters.
	Key string
	// Dispatch starts the run of a job, once however often it is called; nil for a server
	// that takes no messages.
	Dispatch func(ctx context.Context, job provision.Job) (dispatch.Result, error)
	Ledger   dispatch.Ledger
	Refusals dispatch.Refusals
	Inbox    dispatch.Inbox // not needed without Dispatch
	// Limits says how GitHub's limits stand, for all who share the ledger.
	Limits func(context.Context) dispatch.PaceState
	// Ready says what keeps messages from becoming runs: a ledger or a token; nil for nothing.
	Ready   func(context.Context) error
	Metrics *Metrics

	AllowUnknown bool          // ignore fields that a message does not have
	Wait         time.Duration // how long a message's request waits for its run; 0 for 5 seconds
	Workers      int           // messages that are dispatched at once; 0 for 16
	MaxKept      int           // messages that may wait; 0 for 10,000
	MaxConns     int           // connections at once; 0 for 256
	Log          *slog.Logger  // nil for none
}

// New returns a server, or says what is wrong with c.
func New(c Config) (*Server, error) {
	switch {
	case len(c.Key) < MinKey:
		return nil, provision.Errorf(provision.Invalid, "INTERNAL_API_KEY has %d characters, fewer than %d", len(c.Key), MinKey)
	case strings.ContainsFunc(c.Key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, provision.Errorf(provision.Invalid, "INTERNAL_API_KEY holds a character that cannot stand in a header")
	}
	c.Wait = cmp.Or(c.Wait, 5*time.Second)
	c.Workers = cmp.Or(c.Workers, 16)
	c.MaxKept = cmp.Or(c.MaxKept, 10_000)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{Config: c, wake: make(chan struct{}, 1), over: make(chan struct{}), waiters: map[string][]*waiter{}}, nil
}

// shutdownTime is how long requests that are being served may still take, and after that
// the workers.
const shutdownTime = 2 * time.Second

// Handler returns the routes of s. This is the whole API.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	open := func(pattern string, f http.HandlerFunc) { mux.Handle(pattern, s.seen(pattern, f)) }
	closed := func(pattern string, f func(http.ResponseWriter, *http.Request) error) {
		mux.Handle(pattern, s.seen(pattern, s.authorised(func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				s.problem(w, r, err)
			}
		})))
	}
	open("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	open("GET /readyz", s.readyz)
	numbers := s.Metrics.Handler()
	open("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		s.Limits(r.Context()) // the numbers are of what it has last heard
		numbers.ServeHTTP(w, r)
	})
	closed("GET /jobs/{job_id}", s.job)
	closed("GET /refusals", s.refusals)
	if s.Dispatch != nil {
		closed("POST /dispatch", s.dispatch)
	}
	open("/", func(w http.ResponseWriter, r *http.Request) {
		probe := *r
		for _, m := range []string{http.MethodGet, http.MethodPost} {
			if probe.Method = m; m != r.Method {
				if _, pattern := mux.Handler(&probe); pattern != "/" {
					w.Header().Set("Allow", m)
					writeProblem(w, problem{Status: http.StatusMethodNotAllowed, Detail: "this path takes " + m})
					return
				}
			}
		}
		writeProblem(w, problem{Status: http.StatusNotFound, Detail: "there is no such path"})
	})
	return mux
}

// Serve answers on ln, and dispatches what is kept, until ctx is done; then it finishes
// what it holds, within 7 seconds. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	hs := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      s.Wait + 30*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
		// A request that is being served is finished also when ctx is done.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := make(chan struct{})
	go func() {
		defer close(workers)
		s.work(ctx)
	}()
	served := make(chan error, 1)
	go func() { served <- hs.Serve(netutil.LimitListener(ln, cmp.Or(s.MaxConns, 256))) }()

	var err error
	select {
	case err = <-served: // never nil
		cancel()
		close(s.over)
	case <-ctx.Done():
		close(s.over)
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		err = hs.Shutdown(last)
		stop()
		if err != nil {
			err = errors.Join(err, hs.Close())
		}
	}
	t := time.NewTimer(2 * shutdownTime)
	defer t.Stop()
	select {
	case <-workers:
	case <-t.C: // what they hold is kept, and the ledger knows how to go on
		err = errors.Join(err, provision.Errorf(provision.Busy, "some dispatches did not end in time; they go on at the next start"))
	}
	return err
}
