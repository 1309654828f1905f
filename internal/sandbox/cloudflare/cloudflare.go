// Package cloudflare is a stand-in for Cloudflare: its API for one DNS zone and for queues
// that are pulled over HTTP, under /client/v4, and its edge, which answers for the
// hostnames of that zone.
//
// It is honest enough for cloudflare-go to work against: names are completed, records
// conflict, lists have pages, requests are limited, and errors have the vendor's codes and
// texts, where they could be found. To add a route, name it in [Server.Handler] and write
// it beside its like in zones.go, records.go or queueroutes.go; a rule for records belongs
// in rules.go, what a queue does with its messages in queue.go.
//
// What the vendor documents is at https://developers.cloudflare.com/api/; the codes are
// from there and from what people report of it.
package cloudflare

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// Options choose how a [Server] behaves. The zero value but for Token and ZoneName is a
// zone on the vendor's free plan.
type Options struct {
	// Token is the API token that may do everything; ReadToken, if it is set, is one that
	// may read only.
	Token, ReadToken string
	AccountID        string // 32 hexadecimal digits; empty for some
	Queues           []QueueOptions
	ZoneName         string // in lower case
	ZoneID           string // 32 hexadecimal digits; empty for random ones
	// RateLimit is the number of requests in RateWindow; 0 for the vendor's 1200 in
	// 5 minutes. Who asks for more is locked out for as long as the window is.
	RateLimit  int
	RateWindow time.Duration
	// MaxPerPage is the largest page; 0 for the vendor's 5,000,000. A small one makes
	// clients page.
	MaxPerPage int
	// MaxRecords is how many records the zone may have; 0 for the free plan's 200.
	MaxRecords int
	// MinTTL is the shortest TTL in seconds; 0 for 60. An Enterprise zone has 30.
	MinTTL int
	// Now tells the time; nil for time.Now.
	Now func() time.Time
}

// A Server is the stand-in. It is safe for concurrent use.
type Server struct {
	// Faults decide what goes wrong with a request.
	Faults standin.Faults

	opts    Options
	created time.Time

	mu      sync.Mutex
	records []Record // in the order in which they were created
	calls   []string
	asked   []time.Time // of the requests in the window
	locked  time.Time   // until then, nobody is answered
	turn    int         // of the addresses behind a name, at the edge
	queues  []*queue
}

// New returns a stand-in whose zone has no records.
func New(o Options) *Server {
	o.ZoneID = cmp.Or(o.ZoneID, randomID())
	o.AccountID = cmp.Or(o.AccountID, strings.Repeat("a", 32))
	o.RateLimit = cmp.Or(o.RateLimit, 1200)
	o.RateWindow = cmp.Or(o.RateWindow, 5*time.Minute)
	o.MaxPerPage = cmp.Or(o.MaxPerPage, 5_000_000)
	o.MaxRecords = cmp.Or(o.MaxRecords, 200)
	o.MinTTL = cmp.Or(o.MinTTL, 60)
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{opts: o, created: o.Now()}
	for _, q := range o.Queues {
		s.addQueue(q)
	}
	return s
}

// AccountID is the id of the account that the zone and the queues are in.
func (s *Server) AccountID() string { return s.opts.AccountID }

// ZoneID is the id of the zone.
func (s *Server) ZoneID() string { return s.opts.ZoneID }

// Records returns every record of the zone, in the order in which they were created.
func (s *Server) Records() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records)
}

// Calls returns the requests that have come, with faults or without, as method and path.
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Handler returns the API.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(*request) (any, error)) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.Handle(method+" /client/v4"+path, s.serve(h))
	}
	handle("GET /user/tokens/verify", s.verifyToken)
	handle("GET /zones", s.listZones)
	handle("GET /zones/{zone}", s.inZone(s.getZone))
	handle("GET /zones/{zone}/dns_records", s.inZone(s.listRecords))
	handle("POST /zones/{zone}/dns_records", s.inZone(s.createRecord))
	handle("GET /zones/{zone}/dns_records/{record}", s.inZone(s.getRecord))
	handle("PUT /zones/{zone}/dns_records/{record}", s.inZone(s.replaceRecord))
	handle("PATCH /zones/{zone}/dns_records/{record}", s.inZone(s.patchRecord))
	handle("DELETE /zones/{zone}/dns_records/{record}", s.inZone(s.deleteRecord))
	handle("GET /accounts/{account}/queues/{queue}/consumers", s.inQueue(s.listConsumers))
	handle("POST /accounts/{account}/queues/{queue}/messages", s.inQueue(s.pushMessage))
	handle("POST /accounts/{account}/queues/{queue}/messages/pull", s.inQueue(s.pullMessages))
	handle("POST /accounts/{account}/queues/{queue}/messages/ack", s.inQueue(s.ackMessages))
	mux.Handle("/", s.serve(func(r *request) (any, error) { return nil, noRoute(r.URL.Path) }))

	faulty := s.Faults.Wrap(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls = append(s.calls, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		faulty.ServeHTTP(w, r)
	})
}

// A request is one that has passed the limit and the token's check.
type request struct {
	*http.Request
	readOnly bool
	body     []byte
	info     any // set by a list: the page that it answers with
	messages []problem
}

// An envelope is what every answer of the API is in.
type envelope struct {
	Result     any       `json:"result"`
	Success    bool      `json:"success"`
	Errors     []problem `json:"errors"`
	Messages   []problem `json:"messages"`
	ResultInfo any       `json:"result_info,omitempty"`
}

// serve returns a handler that takes the lock, checks who asks, and writes what h answers.
func (s *Server) serve(h func(*request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		r := &request{Request: hr}
		err := s.limit(w.Header())
		if err == nil {
			err = s.authenticate(r)
		}
		if err == nil {
			if r.body, err = io.ReadAll(io.LimitReader(hr.Body, 1<<20)); err != nil {
				return // the client has gone
			}
		}
		var result any
		if err == nil {
			result, err = h(r)
		}
		e := envelope{Result: result, Success: err == nil, Errors: []problem{}, Messages: []problem{}, ResultInfo: r.info}
		e.Messages = append(e.Messages, r.messages...)
		status := http.StatusOK
		if err != nil {
			refused := asRefusal(err)
			status, e.Result, e.Errors = refused.status, nil, refused.problems
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cf-Ray", randomID()[:16]+"-SIN")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(e) // a client that has gone away is its own affair
	})
}

// randomID returns an id as the vendor's are.
func randomID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
