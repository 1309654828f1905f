package hetzner

import (
	"fmt"
	"net/netip"
	"slices"
)

// publicIPv4 are the networks that RFC 5737 sets aside for documentation: addresses of
// the stand-in can be mistaken for nobody's.
var publicIPv4 = []netip.Prefix{
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
}

// freeIPv4 returns an address that no server has. One that was given back is only given
// out again when all others have been.
func (s *Server) freeIPv4() (string, bool) {
	const usable = 254
	for range len(publicIPv4) * usable {
		n := s.addresses % (len(publicIPv4) * usable)
		s.addresses++
		b := publicIPv4[n/usable].Addr().As4()
		b[3] = byte(n%usable + 1)
		ip := netip.AddrFrom4(b).String()
		if !s.taken(ip) {
			return ip, true
		}
	}
	return "", false
}

func (s *Server) taken(ip string) bool {
	for _, p := range s.projects {
		if slices.ContainsFunc(p.servers, func(v *server) bool { return v.ipv4 == ip }) {
			return true
		}
	}
	return false
}

// freeIPv6 returns a /64 of the documentation network of RFC 3849 that no server ever had.
func (s *Server) freeIPv6() string {
	id := s.newID()
	var b [16]byte
	copy(b[:], []byte{0x20, 0x01, 0x0d, 0xb8})
	for i := range 4 {
		b[7-i] = byte(id >> (8 * i))
	}
	return fmt.Sprintf("%s/64", netip.AddrFrom16(b))
}
