// Package hetzner is a stand-in for Hetzner's Cloud API, honest enough for hcloud-go and
// for a Pulumi provider to work against: projects with tokens of their own, unique names,
// pages, labels and their selectors, actions that take time, limits, and errors with the
// vendor's codes. It serves what provisioning uses, under /v1.
//
// Each kind of resource has a file, with its routes in one function that routes calls.
// To add a kind, write its file, give project a table for it, and name its routes there.
//
// What the vendor documents is at https://docs.hetzner.cloud/reference/cloud.
package hetzner

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud/schema"

	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// Options choose how a [Server] behaves. The zero value is the vendor's default
// behaviour, but that nothing takes time and that no token is known.
type Options struct {
	// Tokens are the API tokens. Tokens of the same project see the same resources.
	Tokens map[string]Token
	// ActionTime is how long it takes until a server that was asked for runs; any other
	// action takes a quarter of it. With 0 an action has ended when it is looked at, but
	// is still running in the answer of the request that started it.
	ActionTime time.Duration
	// RateLimit is the number of requests an hour and project; 0 for the vendor's 3600.
	RateLimit int
	// MaxPerPage is the largest page; 0 for the vendor's 50. A small one makes clients page.
	MaxPerPage int
	// MaxServers is how many servers a project may have; 0 for no limit.
	MaxServers int
	// Now tells the time; nil for time.Now.
	Now func() time.Time
}

// A Token says what its bearer may do.
type Token struct {
	Project  string
	ReadOnly bool
}

// A Server is the stand-in. It is safe for concurrent use.
type Server struct {
	// Faults decide what goes wrong with a request.
	Faults standin.Faults

	opts Options

	mu          sync.Mutex
	projects    map[string]*project
	lastID      int64
	addresses   int // handed out so far
	mutations   map[string]int
	calls       map[string]int
	unavailable map[[2]string]bool // by server type and location
	full        map[[2]string]bool // the same, but the catalogue does not say so
	deprecated  map[[2]string]schema.DeprecationInfo
	failures    map[string]actionError // by command
}

// New returns a stand-in without resources, but with the vendor's catalogue of locations,
// server types and images.
func New(o Options) *Server {
	o.RateLimit = cmp.Or(o.RateLimit, 3600)
	o.MaxPerPage = cmp.Or(o.MaxPerPage, 50)
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		opts:        o,
		projects:    map[string]*project{},
		lastID:      1_000_000,
		mutations:   map[string]int{},
		calls:       map[string]int{},
		unavailable: map[[2]string]bool{},
		full:        map[[2]string]bool{},
		deprecated:  map[[2]string]schema.DeprecationInfo{},
		failures:    map[string]actionError{},
	}
	for _, t := range o.Tokens {
		if s.projects[t.Project] == nil {
			s.projects[t.Project] = &project{tokensLeft: float64(o.RateLimit), refilled: o.Now()}
		}
	}
	return s
}

// A project holds the resources that its tokens see.
type project struct {
	servers    table[*server]
	networks   table[*network]
	firewalls  table[*firewall]
	placements table[*placementGroup]
	keys       table[*sshKey]
	actions    []*action

	tokensLeft float64 // requests, in the bucket of the rate limit
	refilled   time.Time
}

// Handler returns the API.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	s.routes(func(pattern string, h handler) {
		mux.Handle(pattern, s.serve(pattern, h))
	})
	mux.Handle("/", s.serve("/", func(c *call) (int, any, error) {
		return 0, nil, &apiError{http.StatusNotFound, "not_found", "the requested path was not found", nil}
	}))
	return s.Faults.Wrap(mux)
}

// routes names every route of the API.
func (s *Server) routes(handle func(pattern string, h handler)) {
	catalogueRoutes(handle)
	actionRoutes(handle)
	serverRoutes(handle)
	serverActionRoutes(handle)
	networkRoutes(handle)
	firewallRoutes(handle)
	placementGroupRoutes(handle)
	sshKeyRoutes(handle)
}

// SetActionTime changes [Options.ActionTime] for the actions to come.
func (s *Server) SetActionTime(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.ActionTime = d
}

// SetUnavailable makes a server type unavailable in a location, or available again. New
// servers of it are refused with resource_unavailable, and the catalogue says so too.
func (s *Server) SetUnavailable(serverType, location string, unavailable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unavailable[[2]string{serverType, location}] = unavailable
}

// SetFull makes a location have no room for servers of a type, or have room again. New ones
// are refused with resource_unavailable, and the catalogue does not know of it: it is seldom
// up to date.
func (s *Server) SetFull(serverType, location string, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full[[2]string{serverType, location}] = full
}

// SetDeprecated announces that a server type is not sold at a location any more from some
// moment on.
func (s *Server) SetDeprecated(serverType, location string, unavailableAfter time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deprecated[[2]string{serverType, location}] = schema.DeprecationInfo{
		Announced: unavailableAfter.AddDate(0, -3, 0).UTC(), UnavailableAfter: unavailableAfter.UTC(),
	}
}

// FailActions makes the actions of that command, such as "create_server", end in an error
// from now on; an empty code lets them succeed again.
func (s *Server) FailActions(command, code, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failures, command)
	if code != "" {
		s.failures[command] = actionError{code, message}
	}
}

// A ServerInfo is a server as [Server.Servers] shows it.
type ServerInfo struct {
	ID       int64
	Name     string
	IPv4     string // empty when it has none
	IPv6     string // its network, as the API has it: "2001:db8:0:1::/64"
	Status   string
	Labels   map[string]string
	Location string
	Type     string
	// PrivateIPs are its addresses by network.
	PrivateIPs map[int64]string
	// Firewalls and PlacementGroup are the IDs of those it is in; 0 for no group.
	Firewalls      []int64
	PlacementGroup int64
	Protected      bool // against deletion
}

// Servers returns the servers of the project that token belongs to, by ID.
func (s *Server) Servers(token string) []ServerInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.projects[s.opts.Tokens[token].Project]
	if p == nil {
		return nil
	}
	var list []ServerInfo
	for _, v := range p.servers {
		i := ServerInfo{
			ID: v.id, Name: v.name, IPv4: v.ipv4, IPv6: v.ipv6, Status: v.status(s.opts.Now()), Labels: cloneLabels(v.labels),
			Location: v.location, Type: v.serverType, PrivateIPs: map[int64]string{}, PlacementGroup: v.placementGroup, Protected: v.protected,
		}
		for _, n := range v.privateNets {
			i.PrivateIPs[n.Network] = n.IP
		}
		for _, f := range p.firewalls {
			if slices.Contains(f.applied(p), v.id) {
				i.Firewalls = append(i.Firewalls, f.id)
			}
		}
		list = append(list, i)
	}
	return list
}

// Names returns the names of the project's resources by kind: "servers", "networks",
// "firewalls", "placement_groups", "ssh_keys".
func (s *Server) Names(token string) map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.projects[s.opts.Tokens[token].Project]
	if p == nil {
		return nil
	}
	return map[string][]string{
		"servers":          p.servers.names(),
		"networks":         p.networks.names(),
		"firewalls":        p.firewalls.names(),
		"placement_groups": p.placements.names(),
		"ssh_keys":         p.keys.names(),
	}
}

// Mutations counts the requests that changed something in the project of token.
func (s *Server) Mutations(token string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mutations[s.opts.Tokens[token].Project]
}

// Calls counts all requests so far, refused ones too, by method and route, such as
// "POST /v1/servers/{id}/actions/poweron".
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := map[string]int{}
	for pattern, n := range s.calls {
		calls[strings.TrimPrefix(pattern, "/ ")] = n
	}
	return calls
}

// AddSSHKey puts a key into the project of token, as somebody would by hand, and returns its ID.
func (s *Server) AddSSHKey(token, name, publicKey string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.projects[s.opts.Tokens[token].Project]
	k := &sshKey{base: s.newBase(name, nil), publicKey: publicKey}
	p.keys = append(p.keys, k)
	return k.id
}

func (s *Server) newID() int64 {
	s.lastID++
	return s.lastID
}
