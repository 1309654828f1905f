package provision

import (
	"errors"
	"fmt"
	"strings"
)

// ValidHostname says what keeps s from being a tenant's hostname; nil if nothing does.
//
// A hostname is lower-case letters, digits and hyphens in labels of at most 63, at most
// 253 in all (RFC 1123), with at least two labels. Internationalised labels (xn--, or
// hyphens in the third and fourth place) are refused: what looks like another tenant's
// name must not be had.
func ValidHostname(s string) error {
	switch {
	case s == "":
		return errors.New("is required")
	case len(s) > 253:
		return fmt.Errorf("is %d characters long, more than 253", len(s))
	case strings.HasSuffix(s, "."):
		return errors.New("must not end in a dot")
	case !strings.Contains(s, "."):
		return errors.New("is no full hostname")
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if !validLabel(label) {
			return fmt.Errorf("has the label %.80q, which is not lower-case letters, digits and inner hyphens, at most 63", label)
		}
		if len(label) >= 4 && label[2:4] == "--" {
			return fmt.Errorf("has the internationalised label %.80q", label)
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return errors.New("ends in a number: it is an address, not a name")
	}
	return nil
}

// ReservedNames are the names below a zone that no tenant gets, unless a setting says otherwise.
func ReservedNames() []string {
	return []string{"www", "api", "admin", "mail", "m", "docs", "app", "auth", "cdn", "cp", "blog", "status",
		"support", "help", "ftp", "smtp", "imap", "pop", "mx", "ns", "ns1", "ns2", "autodiscover", "autoconfig",
		"static", "assets", "test", "staging", "dev", "internal", "localhost"}
}

// CheckHostname says why host may not be a tenant's name in zone: it is no hostname, it
// does not lie below the zone, or the label just below the zone is reserved.
func CheckHostname(host, zone string, reserved []string) error {
	if err := ValidHostname(host); err != nil {
		return Errorf(Invalid, "canonical_hostname %.80q %w", host, err)
	}
	below, ok := strings.CutSuffix(host, "."+strings.ToLower(zone))
	if !ok {
		return Errorf(Invalid, "canonical_hostname %q is not below the zone %q", host, zone)
	}
	top := below[strings.LastIndex(below, ".")+1:]
	for _, name := range reserved {
		if top == strings.ToLower(strings.TrimSpace(name)) {
			return Errorf(Invalid, "canonical_hostname %q is reserved: no tenant may be called %q", host, top)
		}
	}
	return nil
}

// validLabel reports whether s is one label of a hostname: LDH, at most 63 characters.
func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}
