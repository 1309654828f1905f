package cloudflare

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxComment is the length of a comment on the free plan.
// https://developers.cloudflare.com/dns/manage-dns-records/reference/record-attributes/
const maxComment = 100

// sameName is where the vendor's conflict errors refer to.
const sameName = " For more details, refer to <https://developers.cloudflare.com/dns/manage-dns-records/troubleshooting/records-with-same-name/>."

// normalise checks a record by itself, and writes it as the vendor does: its name in lower
// case and completed with the zone's, its address in canonical form.
func (s *Server) normalise(rec *Record) error {
	bad := func(code int, message string) error { return refuse(http.StatusBadRequest, code, message) }
	if err := s.complete(rec); err != nil {
		return err
	}
	rec.Type = strings.ToUpper(rec.Type)
	addr, err := netip.ParseAddr(rec.Content)
	switch {
	case !slices.Contains(types, rec.Type):
		return bad(9004, "Invalid DNS record type")
	case rec.Type == "A" && (err != nil || !addr.Is4()):
		return bad(9005, "Content for A record must be a valid IPv4 address.")
	case rec.Type == "AAAA" && (err != nil || !addr.Is6() || addr.Zone() != ""):
		return bad(9006, "Content for AAAA record must be a valid IPv6 address.")
	case rec.Type == "CNAME" && !validName(canonical(rec.Content)):
		return bad(9007, "Content for CNAME record is invalid.")
	case rec.Content == "":
		return bad(9101, "Content for "+rec.Type+" record is required.")
	}
	switch rec.Type {
	case "A", "AAAA":
		rec.Content = addr.String()
	case "CNAME":
		rec.Content = canonical(rec.Content)
	}
	rec.Proxiable = rec.Type == "A" || rec.Type == "AAAA" || rec.Type == "CNAME"
	if rec.Proxied && !rec.Proxiable {
		return bad(9004, "This record type cannot be proxied.")
	}
	if rec.TTL != 1 && (rec.TTL < s.opts.MinTTL || rec.TTL > 86400) {
		return invalid(9021, fmt.Sprintf("TTL must be between %d and 86400 seconds, or 1 for Automatic.", s.opts.MinTTL))
	}
	if rec.Proxied {
		rec.TTL = 1
	}
	if rec.Comment != nil {
		if utf8.RuneCountInString(*rec.Comment) > maxComment {
			return bad(9313, fmt.Sprintf("DNS record comment exceeds the maximum length of %d characters.", maxComment))
		}
		if strings.ContainsAny(*rec.Comment, "\r\n") {
			return bad(9314, "DNS record comment must not contain line breaks.")
		}
	}
	if n := len(rec.Tags); n > 0 {
		return invalid(9300, fmt.Sprintf("DNS record has %d tags, exceeding the quota of 0.", n))
	}
	return nil
}

// types are the record types that the API knows.
var types = []string{"A", "AAAA", "CAA", "CERT", "CNAME", "DNSKEY", "DS", "HTTPS", "LOC", "MX", "NAPTR", "NS", "PTR", "SMIMEA", "SRV", "SSHFP", "SVCB", "TLSA", "TXT", "URI"}

// complete gives a record its full name: a name that does not end in the zone's gets it
// added, also one that is another zone's.
func (s *Server) complete(rec *Record) error {
	name := canonical(rec.Name)
	switch {
	case name == "@":
		name = s.opts.ZoneName
	case name != s.opts.ZoneName && !strings.HasSuffix(name, "."+s.opts.ZoneName):
		name += "." + s.opts.ZoneName
	}
	if !validName(name) {
		return refuse(http.StatusBadRequest, 9000, "DNS name is invalid.")
	}
	rec.Name = name
	return nil
}

// conflict says whether another record forbids this one. Several A records of one name are
// allowed.
func (s *Server) conflict(rec Record) error {
	for _, other := range s.records {
		if other.ID == rec.ID || other.Name != rec.Name {
			continue
		}
		identical := other.Type == rec.Type && other.Content == rec.Content
		switch {
		case identical:
			return refuse(http.StatusBadRequest, 81058, "An identical record already exists.")
		case rec.Type == "CNAME" && other.Proxiable:
			return refuse(http.StatusBadRequest, 81053, "An A, AAAA, or CNAME record with that host already exists."+sameName)
		case other.Type == "CNAME" && rec.Proxiable:
			return refuse(http.StatusBadRequest, 81054, "A CNAME record with that host already exists."+sameName)
		}
	}
	return nil
}

// validName reports whether s is a DNS name. Labels may have underscores, and the first
// may be a star.
func validName(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i, label := range strings.Split(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if i == 0 && label == "*" {
			continue
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// canonical returns a name in lower case, without a final dot.
func canonical(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }
