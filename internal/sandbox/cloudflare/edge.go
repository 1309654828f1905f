package cloudflare

import (
	"fmt"
	"io"
	"net"
	"net/http"
)

// Edge returns a handler that answers as Cloudflare does for a hostname of the zone: from
// the address that the name's records lead to, one after the other where there are
// several. upstream answers for an address; ok is false for one where nobody is. A name
// without records gets the vendor's error 1016, an address where nobody is its error 522.
//
// The vendor's edge answers for proxied records only. This one answers for the others too,
// in place of the server that a browser would ask itself.
func (s *Server) Edge(upstream func(ip string) (body string, ok bool)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		w.Header().Set("Server", "cloudflare")
		w.Header().Set("Cf-Ray", randomID()[:16]+"-SIN")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		ip, ok := s.address(canonical(host))
		if !ok {
			w.WriteHeader(530)
			fmt.Fprintln(w, "error code: 1016 (origin DNS error)")
			return
		}
		body, ok := upstream(ip)
		if !ok {
			w.WriteHeader(522)
			fmt.Fprintln(w, "error code: 522 (connection timed out)")
			return
		}
		_, _ = io.WriteString(w, body) // a client that has gone away is its own affair
	})
}

// address returns an address of a hostname, going on where a CNAME points.
func (s *Server) address(name string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 8 {
		var list []string
		next := ""
		for _, rec := range s.records {
			switch {
			case rec.Name != name:
			case rec.Type == "CNAME":
				next = rec.Content
			case rec.Type == "A" || rec.Type == "AAAA":
				list = append(list, rec.Content)
			}
		}
		if len(list) > 0 {
			s.turn++
			return list[s.turn%len(list)], true
		}
		name = next
	}
	return "", false
}
