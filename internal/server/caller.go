package server

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A caller is who sends a request.
type caller struct {
	// name scopes idempotency keys and stands in the audit: "internal" for whoever bears the
	// key, and for anybody else "public" and the address.
	name     string
	internal bool
}

// internalCaller is whoever bears the key: there is one, and whoever bears it is one caller.
var internalCaller = caller{"internal", true}

// callerKey is where a request's context holds its caller.
type callerKey struct{}

// callerOf returns who sends the request of ctx: nobody with any right where no middleware
// has found out.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// client returns the network that a request comes from: an IPv4 address, or the /64 that an
// IPv6 address is in, which is what one customer of a provider has. What proxies say of it
// is believed where the proxy is one of ours.
func (s *Server) client(r *http.Request) netip.Prefix {
	a := peer(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	// Each proxy appends whom it heard. What stands before the first that is not ours was
	// written by anybody.
	for _, hop := range slices.Backward(hops) {
		if !s.trusted(a) {
			break
		}
		next := peer(strings.TrimSpace(hop))
		if !next.IsValid() {
			break
		}
		a = next
	}
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil { // no address: a test's, or a socket's
		return netip.Prefix{}
	}
	return p
}

func (s *Server) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(s.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// peer reads an address, with or without a port; the zero one when it is none.
func peer(text string) netip.Addr {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}
