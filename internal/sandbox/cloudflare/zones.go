package cloudflare

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// verifyToken answers GET /user/tokens/verify.
func (s *Server) verifyToken(r *request) (any, error) {
	r.messages = []problem{{Code: 10000, Message: "This API Token is valid and active"}}
	return map[string]string{"id": strings.Repeat("f", 32), "status": "active"}, nil
}

// listZones answers GET /zones: the zones that the token may see, which is one.
func (s *Server) listZones(r *request) (any, error) {
	list := []map[string]any{s.zone()}
	if name := r.URL.Query().Get("name"); name != "" && strings.ToLower(name) != s.opts.ZoneName {
		list = nil
	}
	return page(r, list, 20, 50)
}

func (s *Server) getZone(*request) (any, error) { return s.zone(), nil }

func (s *Server) zone() map[string]any {
	at := s.created.UTC().Format(time.RFC3339Nano)
	return map[string]any{
		"id": s.opts.ZoneID, "name": s.opts.ZoneName, "status": "active", "paused": false, "type": "full",
		"development_mode": 0, "created_on": at, "modified_on": at, "activated_on": at,
		"name_servers":          []string{"bob.ns.cloudflare.com", "lola.ns.cloudflare.com"},
		"original_name_servers": nil, "original_dnshost": nil, "original_registrar": nil,
		"account": map[string]string{"id": s.opts.AccountID, "name": "sandbox"},
		"owner":   map[string]string{"id": strings.Repeat("b", 32), "name": "sandbox", "type": "user"},
		"meta":    map[string]any{"step": 2, "custom_certificate_quota": 0, "page_rule_quota": 3, "phishing_detected": false},
		"plan":    map[string]any{"id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "name": "Free Website"},
	}
}

// inZone lets h answer for the zone alone. The vendor does not say whether another one
// exists.
func (s *Server) inZone(h func(*request) (any, error)) func(*request) (any, error) {
	return func(r *request) (any, error) {
		id := r.PathValue("zone")
		record := r.PathValue("record")
		switch {
		case !isID(id), record != "" && !isID(record):
			return nil, noRoute(r.URL.Path)
		case id != s.opts.ZoneID && strings.Contains(r.URL.Path, "/dns_records"):
			return nil, forbidden()
		case id != s.opts.ZoneID:
			return nil, refuse(http.StatusForbidden, 9109, "Unauthorized to access requested resource")
		case r.readOnly && !slices.Contains([]string{http.MethodGet, http.MethodHead}, r.Method):
			return nil, forbidden()
		}
		return h(r)
	}
}

// isID reports whether s looks like one of the vendor's ids.
func isID(s string) bool { return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == "" }
