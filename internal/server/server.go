// Package server is the control plane's API: the routes under which tenants are enqueued,
// placements computed, nodes registered, and runs report what they do.
//
// Every route is a line in routes.go, and a method in the file of its subject. Huma makes
// of the method's types the decoder, the checks, and /openapi.json. A method returns a
// classified error; problems.go alone knows what HTTP status that is. To add a route,
// write its method and its line.
//
// Jobs leave by [Config].Trigger, see trigger.go. Only what is stored counts: a job is
// answered for when its transaction is on the disk, and triggered afterwards.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// Config is what a Server needs.
type Config struct {
	Store store.Store
	// Key is what callers of the internal routes must bear, INTERNAL_API_KEY: at least
	// [MinKey] characters.
	Key string
	// SkipAuth lets callers in without the key, on connections to a loopback address alone;
	// SKIP_INTERNAL_API_AUTH. Key may be empty then.
	SkipAuth   bool
	Thresholds placement.Thresholds
	Domain     string   // below which tenants get their hostnames; TENANT_DOMAIN
	Reserved   []string // slugs that no tenant gets; nil for [provision.ReservedNames]
	// Trigger starts the run of a job. It is called again after an error that can be
	// retried, and after a crash in the middle of it, but not after one with a method
	// Ambiguous() bool that answers true: then there may be a run. It is nil where somebody
	// else reads the Pending jobs.
	Trigger func(ctx context.Context, m provision.Message) (runID, runURL string, err error)
	Log     *slog.Logger     // nil for none
	Now     func() time.Time // nil for the clock
}

// MinKey is the length below which a key is refused: 32 characters, as no shorter one
// withstands guessing.
const MinKey = 32

// A Server answers the control plane's routes.
type Server struct {
	Config
	wake chan struct{} // told that a job is Pending
}

// New returns a server, or says what is wrong with c.
func New(c Config) (*Server, error) {
	switch {
	case c.SkipAuth && c.Key == "":
	case len(c.Key) < MinKey:
		return nil, provision.Errorf(provision.Invalid, "INTERNAL_API_KEY has %d characters, fewer than %d", len(c.Key), MinKey)
	case strings.ContainsFunc(c.Key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, provision.Errorf(provision.Invalid, "INTERNAL_API_KEY holds a character that cannot stand in a header")
	}
	if err := provision.ValidHostname(c.Domain); err != nil {
		return nil, provision.Errorf(provision.Invalid, "TENANT_DOMAIN %q %w", c.Domain, err)
	}
	if c.Reserved == nil {
		c.Reserved = provision.ReservedNames()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Server{Config: c, wake: make(chan struct{}, 1)}, nil
}

// now is the time in UTC, as everything is stored and answered.
func (s *Server) now() time.Time { return s.Now().UTC() }

// shutdownTime is how long requests that are being served may still take.
const shutdownTime = 4 * time.Second

// Serve answers on ln, and triggers jobs, until ctx is done; then it finishes what it
// holds. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if s.SkipAuth && !loopback(ln.Addr()) {
		return errors.Join(ln.Close(), provision.Errorf(provision.Invalid,
			"SKIP_INTERNAL_API_AUTH is for a loopback listener, not for %s", ln.Addr()))
	}
	hs := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
		// A request that is being served is finished also when ctx is done.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	worker := make(chan struct{})
	go func() {
		defer close(worker)
		s.Work(ctx)
	}()
	served := make(chan error, 1)
	go func() { served <- hs.Serve(ln) }()

	var err error
	select {
	case err = <-served: // never nil
	case <-ctx.Done():
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		err = hs.Shutdown(last)
		stop()
		if err != nil {
			err = errors.Join(err, hs.Close())
		}
	}
	cancel()
	<-worker
	return err
}

// loopback reports whether only this machine reaches a.
func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
