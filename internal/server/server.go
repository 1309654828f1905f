// Package server is the control plane's API: the routes under which tenants are enqueued,
// placements computed, nodes registered, and runs report what they do.
//
// Every route is a line in routes.go, and a method in the file of its subject. Huma makes
// of the method's types the decoder, the checks, and /openapi.json. A method returns a
// classified error; problems.go alone knows what HTTP status that is. To add a route,
// write its method and its line.
//
// Every order, from whichever route, goes through one function, enqueue. Jobs leave by
// [Config].Trigger, see trigger.go, and those of which nothing is heard any more are settled
// by a [Sweep]. Only what is stored counts: a job is answered for when its transaction is on
// the disk, and triggered afterwards.
package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// Config is what a Server needs. Store, Key and Domain are required.
type Config struct {
	Store store.Store
	// Key is what callers of the internal routes must bear, INTERNAL_API_KEY: at least
	// [MinKey] characters.
	Key string
	// SkipAuth lets callers in without the key, on connections to a loopback address alone;
	// SKIP_INTERNAL_API_AUTH. Key may be empty then.
	SkipAuth bool
	Domain   string   // below which tenants get their hostnames; TENANT_DOMAIN
	Reserved []string // slugs that no tenant gets; nil for [provision.ReservedNames]

	// PublicTiers are what POST /v1/tenants gives without the key; nil for free and basic,
	// since the others are paid for.
	PublicTiers []placement.Tier
	// PublicPerMinute is how many orders one address may send there in a minute, and
	// PublicBurst how many of them at once. 0 for 10 each; negative for any number.
	PublicPerMinute, PublicBurst int
	// PublicPerHour is how many orders all of them together may have taken in an hour, since each
	// may cost a server, and addresses cost nothing. 0 for 300; negative for any number.
	PublicPerHour int
	// TrustedProxies are where an X-Forwarded-For is believed to come from.
	TrustedProxies []netip.Prefix
	// MaxConnections is how many are open at a time; 0 for 1024.
	MaxConnections int
	// StripeSecret is the signing secret of the webhook's endpoint; empty to take no events.
	StripeSecret string

	// Trigger starts the run of an attempt of a job, or hands it to somebody who does. It is
	// called again after an error that can be retried and after a crash in the middle of it,
	// and must not start a second run of the same attempt then. Its error may have a method
	// Ambiguous() bool that answers true when there may be a run all the same, and a method
	// NotBefore() time.Time that says when trying again has a chance. runID is empty where it
	// is not known yet. Trigger is nil where somebody else reads the Pending jobs.
	Trigger func(ctx context.Context, j provision.Job, attempt int) (runID, runURL string, err error)
	Sweep   Sweep

	Log *slog.Logger     // nil for none
	Now func() time.Time // nil for the clock
}

// MinKey is the length below which a key is refused: 32 characters, as no shorter one
// withstands guessing.
const MinKey = 32

// A Server answers the control plane's routes.
type Server struct {
	Config
	keyHash [sha256.Size]byte
	orders  *limiter // of each address
	total   *limiter // of all of them
	metrics *metrics
	spelled spelled
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
	if c.PublicTiers == nil {
		c.PublicTiers = []placement.Tier{placement.Free, placement.Basic}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	or(&c.PublicPerMinute, 10)
	or(&c.PublicBurst, 10)
	or(&c.PublicPerHour, 300)
	or(&c.MaxConnections, 1024)
	return &Server{Config: c, keyHash: sha256.Sum256([]byte(c.Key)),
		orders: newLimiter(c.PublicPerMinute, time.Minute, c.PublicBurst),
		total:  newLimiter(c.PublicPerHour, time.Hour, c.PublicPerHour), metrics: newMetrics()}, nil
}

// or sets a field that was left zero.
func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// now is the time in UTC, as everything is stored and answered.
func (s *Server) now() time.Time { return s.Now().UTC() }

// shutdownTime is how long what is under way when a server is stopped may still take.
const shutdownTime = 5 * time.Second

// Serve answers on ln, triggers jobs and sweeps, until ctx is done; then it finishes what it
// holds, which takes [shutdownTime] at most. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if s.SkipAuth && !loopback(ln.Addr()) {
		return errors.Join(ln.Close(), provision.Errorf(provision.Invalid,
			"SKIP_INTERNAL_API_AUTH is for a loopback listener, not for %s", ln.Addr()))
	}
	last, stop := outlive(ctx, shutdownTime)
	defer stop()
	hs := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
		// A request that is being served is finished also when ctx is done.
		BaseContext: func(net.Listener) context.Context { return last },
	}
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		s.Work(working)
	}()
	served := make(chan error, 1)
	go func() { served <- hs.Serve(netutil.LimitListener(ln, s.MaxConnections)) }()

	var err error
	select {
	case err = <-served: // never nil
	case <-ctx.Done():
		if hs.Shutdown(last) != nil {
			s.Log.Warn("stop: connections were cut off")
			err = hs.Close()
		}
	}
	cancel()
	select {
	case <-worked:
	case <-last.Done():
		s.Log.Warn("stop: work was cut off; the next process goes on with it")
	}
	return err
}

// loopback reports whether only this machine reaches a.
func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
