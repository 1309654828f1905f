package provision

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// StackName returns the name of the Pulumi stack that holds the job's servers: the
// region's for a shared server, the tenant's own for a dedicated one.
//
// Whoever changes this moves tenants: a new name is an empty stack.
func (j Job) StackName() string {
	if j.Dedicated {
		return DedicatedStack(j.TenantID)
	}
	return string(j.Region)
}

// DedicatedStack returns the name of a tenant's own stack, dedicated-{safe_id}.
//
// The safe_id keeps letters, digits and hyphens, lower-cased, at most 40 of them. Where
// that changed or cut anything, it ends in a hyphen and 80 bits of a hash of the whole
// tenant_id, so that no two tenants share a stack. A plain id that looks as if it ended
// so gets a hash too: else it could be chosen to meet another tenant's name. The result
// has at most 67 characters of a-z, 0-9 and hyphen; Pulumi takes 100 of them.
func DedicatedStack(tenantID string) string { return "dedicated-" + safe(tenantID, 40) }

// NodeKey returns the key under which a shared stack lists the job's server. It is made
// of the job_id as a stack's name is made of the tenant_id, so it can be part of a
// server's name (RFC 1123, at most 63 characters).
func (j Job) NodeKey() string { return safe(j.ID, 28) }

// NodeID returns the node_id of the server that the vendor calls serverID in the
// region. It is a function of what exists: a second run registers the same node.
func NodeID(region, serverID string) string { return "hz-" + region + "-" + serverID }

// LabelValue returns s as a value that Hetzner takes for a label: at most 63 letters,
// digits, dots, hyphens and underscores, alphanumeric at both ends.
// https://docs.hetzner.cloud/reference/cloud#labels
func LabelValue(s string) string {
	valid := func(c byte) bool { return alnum(c) || c == '-' || c == '_' || c == '.' }
	b := []byte(s)
	ok := len(b) > 0 && len(b) <= 63 && alnum(b[0]) && alnum(b[len(b)-1])
	for i := range b {
		if !valid(b[i]) {
			b[i], ok = '-', false
		}
	}
	if ok && !endsInHash(s) {
		return s
	}
	return withHash(strings.TrimLeft(string(b[:min(len(b), 40)]), "-_."), s)
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// safe returns id as lower-case letters, digits and inner hyphens: id itself where it is
// that already and has at most n characters, otherwise what is left of it and a hash.
func safe(id string, n int) string {
	var b strings.Builder
	for _, c := range []byte(strings.ToLower(id)) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' {
			b.WriteByte(c)
		}
	}
	s := b.String()
	if s == id && s != "" && len(s) <= n && s == strings.Trim(s, "-") && !endsInHash(s) {
		return s
	}
	return withHash(strings.Trim(s[:min(len(s), n)], "-"), id)
}

// hashLen is the length of the hash in a name: 16 characters of base32 are 80 bits.
const hashLen = 16

var hashEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// withHash returns prefix, a hyphen and a hash of whole; just the hash, behind an x so
// that it begins with a letter, where prefix is empty.
func withHash(prefix, whole string) string {
	sum := sha256.Sum256([]byte(whole))
	if prefix == "" {
		prefix = "x"
	}
	return prefix + "-" + hashEncoding.EncodeToString(sum[:hashLen*5/8])
}

// endsInHash reports whether s could have come from withHash.
func endsInHash(s string) bool {
	i := len(s) - hashLen
	if i < 2 || s[i-1] != '-' {
		return false
	}
	return strings.Trim(s[i:], "abcdefghijklmnopqrstuvwxyz234567") == ""
}
