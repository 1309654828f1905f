package pipeline

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Zone is the DNS zone that tenants' hostnames lie in.
type Zone interface {
	// Name returns the zone's name.
	Name(ctx context.Context) (string, error)
	// Records returns every record of a hostname, of any type.
	Records(ctx context.Context, hostname string) ([]provision.Record, error)
	// Create answers [provision.Conflict] if such a record is there, [provision.Busy] if it
	// cannot tell whether it was created.
	Create(context.Context, provision.Record) (provision.Record, error)
	Update(context.Context, provision.Record) (provision.Record, error)
	Delete(context.Context, provision.Record) error
}

// DNSPolicy says how tenants' records are made.
type DNSPolicy struct {
	Proxied  bool
	Takeover bool     // overwrite a record of another owner, or of none
	Reserved []string // names below the zone that no tenant gets
}

// TenantDNS makes the tenant's hostname point at its node: exactly one A record, and one
// AAAA record where the node has such an address. A record of another owner is refused.
func TenantDNS(zone Zone, policy DNSPolicy) Step {
	return Step{
		Name: "tenant_dns",
		Plan: func(ctx context.Context, r *Run) (string, error) {
			if err := checkHostname(ctx, zone, r.Job, policy); err != nil {
				return "", err
			}
			if r.Node.Host == "" {
				// The server is only planned: its address is not known, but whether the name is free is.
				_, err := planRecords(ctx, zone, r.Job, nil, policy)
				return "point " + r.Job.CanonicalHostname + " at the new server", err
			}
			want, err := wantRecords(r.Job, r.Node, policy)
			if err != nil {
				return "", err
			}
			changes, err := planRecords(ctx, zone, r.Job, want, policy)
			r.Records = changes.kept()
			return changes.String(), err
		},
		Do: func(ctx context.Context, r *Run) (string, error) {
			if err := checkHostname(ctx, zone, r.Job, policy); err != nil {
				return "", err
			}
			want, err := wantRecords(r.Job, r.Node, policy)
			if err != nil {
				return "", err
			}
			return setRecords(ctx, zone, r, want, policy)
		},
	}
}

// setTries bounds the rounds of look and act: a round may end in a lost answer, or meet a
// twin that was faster.
const setTries = 3

// setRecords looks and acts until the hostname has exactly the records wanted.
func setRecords(ctx context.Context, zone Zone, r *Run, want []provision.Record, policy DNSPolicy) (string, error) {
	var did []string
	for try := 1; ; try++ {
		changes, err := planRecords(ctx, zone, r.Job, want, policy)
		if err != nil {
			return "", err
		}
		if len(changes.pending()) == 0 {
			r.Records = changes.kept()
			if len(did) == 0 {
				return r.Job.CanonicalHostname + " points there already", nil
			}
			return strings.Join(did, ", "), nil
		}
		for _, c := range changes.pending() {
			if err = c.apply(ctx, zone); err != nil {
				break
			}
			did = append(did, c.String())
		}
		if err != nil && !lookAgain(err) || try > setTries {
			if err == nil {
				err = provision.Errorf(provision.Busy, "the records of %s change while they are being set", r.Job.CanonicalHostname)
			}
			return "", err
		}
	}
}

// lookAgain reports whether err may be the answer to what has been done already, by an
// earlier try whose answer was lost or by a twin.
func lookAgain(err error) bool {
	switch provision.ClassOf(err) {
	case provision.Busy, provision.Conflict, provision.NotFound:
		return true
	}
	return false
}

// checkHostname refuses a hostname that no tenant may have, before the zone is touched.
func checkHostname(ctx context.Context, zone Zone, j provision.Job, policy DNSPolicy) error {
	name, err := zone.Name(ctx)
	if err != nil {
		return err
	}
	return provision.CheckHostname(j.CanonicalHostname, name, policy.Reserved)
}

// wantRecords returns the records that point j's hostname at n.
func wantRecords(j provision.Job, n provision.Node, policy DNSPolicy) ([]provision.Record, error) {
	record := func(typ, content string) provision.Record {
		return provision.Record{
			Type: typ, Name: j.CanonicalHostname, Content: content,
			Proxied: policy.Proxied, TTL: 1, Comment: provision.RecordComment(j.TenantID),
		}
	}
	ip, err := netip.ParseAddr(n.Host)
	if err != nil || !ip.Is4() {
		return nil, provision.Errorf(provision.Invalid, "node %s: host %q is no IPv4 address, so no A record can point at it", n.ID, n.Host)
	}
	want := []provision.Record{record("A", ip.String())}
	if n.IPv6 != "" {
		ip, err := netip.ParseAddr(n.IPv6)
		if err != nil || !ip.Is6() {
			return nil, provision.Errorf(provision.Invalid, "node %s: ipv6 %q is no IPv6 address", n.ID, n.IPv6)
		}
		want = append(want, record("AAAA", ip.String()))
	}
	return want, nil
}

// planRecords looks at the hostname's records and says what is to be done to them.
func planRecords(ctx context.Context, zone Zone, j provision.Job, want []provision.Record, policy DNSPolicy) (recordChanges, error) {
	have, err := zone.Records(ctx, j.CanonicalHostname)
	if err != nil {
		return nil, err
	}
	return diffRecords(have, want, provision.RecordComment(j.TenantID), policy.Takeover)
}

// A recordChange is what is to be done to one record; an empty op keeps it.
type recordChange struct {
	op     provision.Op
	record provision.Record
}

type recordChanges []recordChange

// diffRecords compares the records that a hostname has with those that it shall have.
// Only records that answer for an address (A, AAAA, CNAME) matter: the others, such as
// TXT, may stand beside them.
func diffRecords(have, want []provision.Record, owner string, takeover bool) (recordChanges, error) {
	have = slices.DeleteFunc(slices.Clone(have), func(r provision.Record) bool {
		return r.Type != "A" && r.Type != "AAAA" && r.Type != "CNAME"
	})
	for _, r := range have {
		if r.Comment != owner && !takeover {
			whose := "nobody"
			if r.Comment != "" {
				whose = fmt.Sprintf("%q", r.Comment)
			}
			return nil, &provision.Error{
				Class: provision.Conflict,
				Text: fmt.Sprintf("%s has a record of another owner: %s %s, owner %s, expected %q",
					r.Name, r.Type, r.Content, whose, owner),
				Next: "find out whose record it is; if it may be overwritten, run the job again with dns_takeover",
			}
		}
	}
	var changes recordChanges
	taken := map[string]bool{}
	take := func(fits func(provision.Record) bool) (provision.Record, bool) {
		for _, r := range have {
			if !taken[r.ID] && fits(r) {
				taken[r.ID] = true
				return r, true
			}
		}
		return provision.Record{}, false
	}
	for _, w := range want {
		same := func(r provision.Record) bool {
			return r.Type == w.Type && r.Content == w.Content && r.Proxied == w.Proxied && r.Comment == w.Comment
		}
		if r, ok := take(same); ok {
			changes = append(changes, recordChange{"", r})
		} else if r, ok := take(func(r provision.Record) bool { return r.Type == w.Type }); ok {
			w.ID = r.ID
			changes = append(changes, recordChange{provision.Update, w})
		} else {
			changes = append(changes, recordChange{provision.Create, w})
		}
	}
	var stale recordChanges // what is left over of ours would answer for a server that is not there
	for _, r := range have {
		if !taken[r.ID] && len(want) > 0 {
			stale = append(stale, recordChange{provision.Delete, r})
		}
	}
	return append(stale, changes...), nil
}

func (c recordChange) apply(ctx context.Context, zone Zone) error {
	var err error
	switch c.op {
	case provision.Create:
		_, err = zone.Create(ctx, c.record)
	case provision.Update:
		_, err = zone.Update(ctx, c.record)
	case provision.Delete:
		err = zone.Delete(ctx, c.record)
	}
	return err
}

func (c recordChange) String() string {
	return fmt.Sprintf("%s %s %s %s", c.op, c.record.Type, c.record.Name, c.record.Content)
}

// pending returns the changes that are to be made; those that free the name come first,
// because Cloudflare takes no A record beside a CNAME.
func (cs recordChanges) pending() recordChanges {
	return slices.DeleteFunc(slices.Clone(cs), func(c recordChange) bool { return c.op == "" })
}

// kept returns the records that are as they should be.
func (cs recordChanges) kept() []provision.Record {
	var list []provision.Record
	for _, c := range cs {
		if c.op == "" {
			list = append(list, c.record)
		}
	}
	return list
}

func (cs recordChanges) String() string {
	var texts []string
	for _, c := range cs.pending() {
		texts = append(texts, c.String())
	}
	return strings.Join(texts, ", ")
}
