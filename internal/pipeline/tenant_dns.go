package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

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
// AAAA record where the node has such an address. A record of another owner is refused,
// before anything is made for the tenant.
func TenantDNS(zone Zone, policy DNSPolicy) Step {
	return Step{
		Name: "tenant_dns",
		Check: func(ctx context.Context, r *Run) error {
			if err := checkHostname(ctx, zone, r.Job, policy); err != nil {
				return err
			}
			have, err := zone.Records(ctx, r.Job.CanonicalHostname)
			if err == nil {
				_, err = diffRecords(have, nil, provision.RecordComment(r.Job.TenantID), policy.Takeover)
			}
			return err
		},
		Plan: func(ctx context.Context, r *Run) (string, error) {
			if r.Node.Host == "" { // the server is only planned, and its address is not known
				return "point " + r.Job.CanonicalHostname + " at the new server", nil
			}
			want, err := wantRecords(r.Job, r.Node, policy)
			if err != nil {
				return "", err
			}
			have, err := zone.Records(ctx, r.Job.CanonicalHostname)
			if err != nil {
				return "", err
			}
			changes, err := diffRecords(have, want, provision.RecordComment(r.Job.TenantID), policy.Takeover)
			r.Records = changes.kept()
			return changes.String(), err
		},
		Do: func(ctx context.Context, r *Run) (string, error) {
			want, err := wantRecords(r.Job, r.Node, policy)
			if err != nil {
				return "", err
			}
			return setRecords(ctx, zone, r, want, policy)
		},
	}
}

// setTries bounds the rounds of look and act: a round may end in a lost answer, or meet a
// twin that was faster. setPause comes before another look at a rival that has lost.
const (
	setTries = 6
	setPause = 500 * time.Millisecond
)

// setRecords looks and acts until the hostname has exactly the records wanted. It looks
// once more after the last change: nobody else may have taken the name in between.
func setRecords(ctx context.Context, zone Zone, r *Run, want []provision.Record, policy DNSPolicy) (string, error) {
	owner := provision.RecordComment(r.Job.TenantID)
	var did []string
	var tried []provision.Record // that this run has created, or may have: an answer can be lost
	for try := 1; ; try++ {
		have, err := zone.Records(ctx, r.Job.CanonicalHostname)
		if err != nil {
			return "", err
		}
		changes, err := diffRecords(have, want, owner, policy.Takeover)
		if err != nil {
			made := intersect(have, tried)
			if len(made) == 0 {
				return "", err
			}
			// A rival that stays for so long has finished, or died: better no record than
			// those of two tenants side by side.
			if lost(have, owner) || try > setTries {
				return "", withdraw(ctx, zone, r, made, err)
			}
			if err := sleep(ctx, setPause); err != nil {
				return "", err
			}
			continue
		}
		r.Records = changes.kept()
		if len(changes.pending()) == 0 {
			if len(did) == 0 {
				return r.Job.CanonicalHostname + " points there already", nil
			}
			return strings.Join(did, ", "), nil
		}
		for _, c := range changes.pending() {
			if c.op == provision.Create {
				tried = append(tried, c.record)
			}
			var now provision.Record
			if now, err = c.apply(ctx, zone); err != nil {
				break
			}
			did = append(did, c.String())
			if c.op != provision.Delete {
				r.keep(now) // also if the next one fails
			}
		}
		if err != nil && !lookAgain(err) || try > setTries {
			if err == nil {
				err = provision.Errorf(provision.Busy, "the records of %s change while they are being set", r.Job.CanonicalHostname)
			}
			return "", err
		}
	}
}

// keep adds a record to those of the run, the A record first.
func (r *Run) keep(record provision.Record) {
	r.Records = append(r.Records, record)
	slices.SortStableFunc(r.Records, func(a, b provision.Record) int { return strings.Compare(a.Type, b.Type) })
}

// intersect returns the records of have that are of the same owner, type and content as one of tried.
func intersect(have, tried []provision.Record) []provision.Record {
	return slices.DeleteFunc(slices.Clone(have), func(h provision.Record) bool {
		return !slices.ContainsFunc(tried, func(t provision.Record) bool {
			return h.Comment == t.Comment && h.Type == t.Type && h.Content == t.Content
		})
	})
}

// lost reports whether the oldest record of a hostname is not owner's: two tenants took
// the name at the same moment, and the first of them has it. Only the oldest counts, so
// that, whatever each has made after it, exactly one of them stays.
func lost(have []provision.Record, owner string) bool {
	have = slices.DeleteFunc(slices.Clone(have), func(r provision.Record) bool { return !answersForAddress(r) })
	oldest := slices.MinFunc(have, func(a, b provision.Record) int {
		return cmp.Or(a.CreatedOn.Compare(b.CreatedOn), strings.Compare(a.ID, b.ID))
	})
	return oldest.Comment != owner
}

// withdraw deletes what this run has made, and nothing else, and returns why.
func withdraw(ctx context.Context, zone Zone, r *Run, made []provision.Record, why error) error {
	r.Records = nil
	for _, m := range made {
		err := zone.Delete(ctx, m)
		if provision.ClassOf(err) == provision.Busy { // perhaps only the answer was lost
			err = zone.Delete(ctx, m)
		}
		if err != nil && provision.ClassOf(err) != provision.NotFound {
			r.keep(m)
			why = errors.Join(why, fmt.Errorf("our own record %s %s stays beside it: %w", m.Type, m.Content, err))
		}
	}
	return why
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
	if err != nil || !ip.Is4() || !public(ip) {
		return nil, provision.Errorf(provision.Invalid, "node %s: host %.80q is no public IPv4 address, so no A record can point at it", n.ID, n.Host)
	}
	want := []provision.Record{record("A", ip.String())}
	if n.IPv6 != "" {
		ip, err := netip.ParseAddr(n.IPv6)
		if err != nil || !ip.Is6() || ip.Is4In6() || !public(ip) {
			return nil, provision.Errorf(provision.Invalid, "node %s: ipv6 %.80q is no public IPv6 address", n.ID, n.IPv6)
		}
		want = append(want, record("AAAA", ip.String()))
	}
	return want, nil
}

// public reports whether ip can be an address of a server for everybody.
func public(ip netip.Addr) bool {
	carrier := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10) // RFC 6598: behind a provider's NAT
	// A global unicast address is not loopback, link-local, multicast or unspecified either.
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !carrier.Contains(ip) && ip.Zone() == ""
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
		return !answersForAddress(r)
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

func answersForAddress(r provision.Record) bool {
	return r.Type == "A" || r.Type == "AAAA" || r.Type == "CNAME"
}

// apply makes the change, and returns the record as it is then.
func (c recordChange) apply(ctx context.Context, zone Zone) (provision.Record, error) {
	switch c.op {
	case provision.Create:
		return zone.Create(ctx, c.record)
	case provision.Update:
		return zone.Update(ctx, c.record)
	case provision.Delete:
		return c.record, zone.Delete(ctx, c.record)
	}
	return c.record, nil
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
