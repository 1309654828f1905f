package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A fakeZone is a DNS zone in memory, with the rules of Cloudflare's that matter here: no
// A record beside a CNAME, and no record twice with the same type and content. Each record
// is a second younger than the one before it.
type fakeZone struct {
	mu      sync.Mutex
	name    string
	records []provision.Record
	nextID  int
	calls   []string // what was asked for to be changed

	// lose makes the next change happen and its answer get lost; early calls a function
	// before the next change, such as what a twin does.
	lose  int
	early func(*fakeZone)
	deny  string // what is refused: such as "create A", or "another look" after a change
}

// zone returns a zone that has the records, each with an ID.
func zone(records ...provision.Record) *fakeZone {
	z := &fakeZone{name: "pregoi.com"}
	for _, r := range records {
		z.put(r)
	}
	return z
}

func (z *fakeZone) put(r provision.Record) provision.Record {
	z.nextID++
	r.ID = fmt.Sprintf("r%d", z.nextID)
	r.CreatedOn = time.Date(2026, time.May, 1, 12, 0, z.nextID, 0, time.UTC)
	z.records = append(z.records, r)
	return r
}

func (z *fakeZone) remove(id string) bool {
	n := len(z.records)
	z.records = slices.DeleteFunc(z.records, func(r provision.Record) bool { return r.ID == id })
	return len(z.records) < n
}

func (z *fakeZone) Name(context.Context) (string, error) { return z.name, nil }

func (z *fakeZone) Records(_ context.Context, hostname string) ([]provision.Record, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.deny == "another look" && len(z.calls) > 0 {
		return nil, provision.Errorf(provision.Denied, "the token may not read %s", z.name)
	}
	return slices.DeleteFunc(slices.Clone(z.records), func(r provision.Record) bool { return r.Name != hostname }), nil
}

// change does one change, with what is to go wrong with it.
func (z *fakeZone) change(what string, r provision.Record, do func() error) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.calls = append(z.calls, fmt.Sprintf("%s %s %s", what, r.Type, r.Content))
	if early := z.early; early != nil {
		z.early = nil
		early(z)
	}
	if z.deny == what+" "+r.Type {
		return provision.Errorf(provision.Denied, "the token may not edit %s", z.name)
	}
	if err := do(); err != nil {
		return err
	}
	if z.lose > 0 {
		z.lose--
		return provision.Errorf(provision.Busy, "zone %s: the answer was lost", z.name)
	}
	return nil
}

func (z *fakeZone) clash(r provision.Record) error {
	for _, o := range z.records {
		switch {
		case o.Name != r.Name || o.ID == r.ID:
		case o.Type == r.Type && o.Content == r.Content:
			return provision.Errorf(provision.Conflict, "zone %s: an identical record already exists", z.name)
		case o.Type != "TXT" && (o.Type == "CNAME") != (r.Type == "CNAME"):
			return provision.Errorf(provision.Conflict, "zone %s: an A, AAAA, or CNAME record with that host already exists", z.name)
		}
	}
	return nil
}

func (z *fakeZone) Create(_ context.Context, r provision.Record) (provision.Record, error) {
	err := z.change("create", r, func() error {
		if err := z.clash(r); err != nil {
			return err
		}
		r = z.put(r)
		return nil
	})
	return r, err
}

func (z *fakeZone) Update(_ context.Context, r provision.Record) (provision.Record, error) {
	err := z.change("update", r, func() error {
		if err := z.clash(r); err != nil {
			return err
		}
		for i := range z.records {
			if z.records[i].ID == r.ID {
				r.CreatedOn = z.records[i].CreatedOn
				z.records[i] = r
				return nil
			}
		}
		return provision.Errorf(provision.NotFound, "zone %s: record %s does not exist", z.name, r.ID)
	})
	return r, err
}

func (z *fakeZone) Delete(_ context.Context, r provision.Record) error {
	return z.change("delete", r, func() error {
		if !z.remove(r.ID) {
			return provision.Errorf(provision.NotFound, "zone %s: record %s does not exist", z.name, r.ID)
		}
		return nil
	})
}

// record is a record of acme-1 for its hostname; by makes it another's.
func record(typ, content string) provision.Record {
	return provision.Record{Type: typ, Name: "acme.pregoi.com", Content: content, Proxied: true, TTL: 1, Comment: "prego tenant=acme-1"}
}

func by(comment string, r provision.Record) provision.Record {
	r.Comment = comment
	return r
}

func unproxied(r provision.Record) provision.Record {
	r.Proxied = false
	return r
}

const other = "prego tenant=rival"

// A dnsCase is what a zone has, and what is to become of it for a node at 192.0.2.1.
type dnsCase struct {
	name   string
	have   []provision.Record
	ipv6   string
	policy *pipeline.DNSPolicy // nil for one that proxies
	want   []provision.Record  // all that the hostname has in the end
	calls  []string            // what is changed on the way
	err    string              // a refusal: then nothing is changed
}

func dnsCases() []dnsCase {
	takeover := &pipeline.DNSPolicy{Proxied: true, Takeover: true}
	a, aaaa, cname, txt := record("A", "192.0.2.1"), record("AAAA", "2001:db8::1"), record("CNAME", "pool.example.com"), record("TXT", "hello")
	stale, stale6 := record("A", "192.0.2.9"), record("AAAA", "2001:db8::9")
	list := func(r ...provision.Record) []provision.Record { return r }
	return []dnsCase{
		{name: "a free name", want: list(a), calls: []string{"create A 192.0.2.1"}},
		{name: "as it should be", have: list(a), want: list(a)},
		{name: "not proxied", policy: &pipeline.DNSPolicy{}, want: list(unproxied(a)), calls: []string{"create A 192.0.2.1"}},
		{name: "both families", ipv6: "2001:db8::1", want: list(a, aaaa), calls: []string{"create A 192.0.2.1", "create AAAA 2001:db8::1"}},
		{name: "the second family is missing", ipv6: "2001:db8::1", have: list(a), want: list(a, aaaa), calls: []string{"create AAAA 2001:db8::1"}},
		{name: "another address", have: list(stale), want: list(a), calls: []string{"update A 192.0.2.1"}},
		{name: "another address of each family", ipv6: "2001:db8::1", have: list(stale6, stale), want: list(a, aaaa),
			calls: []string{"update A 192.0.2.1", "update AAAA 2001:db8::1"}},
		{name: "proxied otherwise", have: list(unproxied(a)), want: list(a), calls: []string{"update A 192.0.2.1"}},
		{name: "the node has no address of the second family", have: list(a, stale6), want: list(a), calls: []string{"delete AAAA 2001:db8::9"}},
		{name: "two where one is right", have: list(stale, a), want: list(a), calls: []string{"delete A 192.0.2.9"}},
		{name: "three, none right", have: list(stale, record("A", "192.0.2.8"), record("A", "192.0.2.7")), want: list(a),
			calls: []string{"delete A 192.0.2.8", "delete A 192.0.2.7", "update A 192.0.2.1"}},
		{name: "a CNAME of ours", have: list(cname), want: list(a), calls: []string{"delete CNAME pool.example.com", "create A 192.0.2.1"}},
		{name: "a TXT stands beside it", have: list(by("", txt)), want: list(a, by("", txt)), calls: []string{"create A 192.0.2.1"}},
		{name: "another hostname is none of ours", have: list(func() provision.Record { r := by(other, a); r.Name = "a.acme.pregoi.com"; return r }()),
			want: list(a), calls: []string{"create A 192.0.2.1"}},

		{name: "another tenant's", have: list(by(other, stale)), err: `owner "prego tenant=rival", expected "prego tenant=acme-1"`},
		{name: "another tenant's, right by chance", have: list(by(other, a)), err: `A 192.0.2.1, owner "prego tenant=rival"`},
		{name: "nobody's", have: list(by("", stale)), err: "owner nobody"},
		{name: "a comment that begins like ours", have: list(by("prego tenant=acme-10", stale)), err: "another owner"},
		{name: "one of ours, one of another", have: list(a, by(other, record("AAAA", "2001:db8::9"))), err: "AAAA 2001:db8::9"},
		{name: "another tenant's CNAME", have: list(by(other, cname)), err: "CNAME pool.example.com"},

		{name: "takeover", policy: takeover, have: list(by(other, stale)), want: list(a), calls: []string{"update A 192.0.2.1"}},
		{name: "takeover of what is right by chance", policy: takeover, have: list(by("", a)), want: list(a), calls: []string{"update A 192.0.2.1"}},
		{name: "takeover of a CNAME", policy: takeover, have: list(by(other, cname)), want: list(a),
			calls: []string{"delete CNAME pool.example.com", "create A 192.0.2.1"}},
		{name: "takeover leaves a TXT alone", policy: takeover, have: list(by(other, txt)), want: list(a, by(other, txt)),
			calls: []string{"create A 192.0.2.1"}},
	}
}

// dnsRun is the run of a job whose node is at 192.0.2.1.
func dnsRun(ipv6 string) *pipeline.Run {
	r := newRun(shared())
	r.Node = provision.Node{ID: "hz-sg-1", Host: "192.0.2.1", IPv6: ipv6}
	return r
}

// step is the one that c is about, with the zone z.
func (c dnsCase) step(z *fakeZone) pipeline.Step {
	if c.policy != nil {
		return pipeline.TenantDNS(z, *c.policy)
	}
	return pipeline.TenantDNS(z, pipeline.DNSPolicy{Proxied: true})
}

// acme returns the records of the tenant's hostname.
func (z *fakeZone) acme() []provision.Record {
	return slices.DeleteFunc(slices.Clone(z.records), func(r provision.Record) bool { return r.Name != "acme.pregoi.com" })
}

// noID compares records by what a run decides, and not by what the vendor does.
var noID = cmpopts.IgnoreFields(provision.Record{}, "ID", "CreatedOn")

func TestTenantDNS(t *testing.T) {
	for _, test := range dnsCases() {
		t.Run(test.name, func(t *testing.T) {
			z := zone(test.have...)
			before := slices.Clone(z.records)
			r := dnsRun(test.ipv6)
			step := test.step(z)

			err := step.Check(t.Context(), r)
			if (err != nil) != (test.err != "") {
				t.Errorf("Check = %v, want an error with %q", err, test.err)
			}
			plan, planErr := step.Plan(t.Context(), r)
			if diff := cmp.Diff(before, z.records); diff != "" || len(z.calls) > 0 {
				t.Errorf("the check or the plan changed the zone: %q (-before +after)\n%s", z.calls, diff)
			}
			if test.err == "" && (planErr != nil || (plan == "") != (test.calls == nil)) {
				t.Errorf("Plan = %q, %v; want a sentence for %q", plan, planErr, test.calls)
			}

			_, doErr := step.Do(t.Context(), r)
			if test.err != "" {
				for _, err := range []error{err, planErr, doErr} { // the record may have come after the check
					wantError(t, err, provision.Conflict, "acme.pregoi.com", test.err)
					if !strings.Contains(provision.NextAction(err), "dns_takeover") {
						t.Errorf("the next action is %q, which does not name dns_takeover", provision.NextAction(err))
					}
				}
				if diff := cmp.Diff(before, z.records); diff != "" {
					t.Errorf("a refusal changed the zone (-before +after)\n%s", diff)
				}
				return
			}
			if doErr != nil {
				t.Fatal(doErr)
			}
			if diff := cmp.Diff(test.want, z.acme(), sameRecords, noID); diff != "" {
				t.Errorf("the zone has (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(test.calls, z.calls); diff != "" {
				t.Errorf("changes (-want +got)\n%s", diff)
			}
			if len(r.Records) == 0 || r.Records[0].Type != "A" || r.Records[0].ID == "" {
				t.Errorf("the run has the records %+v, want the A record first, with its ID", r.Records)
			}

			z.calls = nil
			if _, err := step.Do(t.Context(), r); err != nil || z.calls != nil {
				t.Errorf("a second run: %v, changes %q; want none", err, z.calls)
			}
			if plan, err := step.Plan(t.Context(), r); plan != "" || err != nil {
				t.Errorf("the plan after it = %q, %v; want nothing to change", plan, err)
			}
		})
	}
}

func TestTenantDNSLostAnswers(t *testing.T) {
	for _, test := range dnsCases() {
		if test.err != "" || test.calls == nil {
			continue
		}
		for lost := 1; lost <= min(len(test.calls), 2); lost++ {
			t.Run(fmt.Sprintf("%s, %d lost", test.name, lost), func(t *testing.T) {
				z := zone(test.have...)
				z.lose = lost
				r := dnsRun(test.ipv6)
				if _, err := test.step(z).Do(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, z.acme(), sameRecords, noID); diff != "" {
					t.Errorf("the zone has (-want +got)\n%s", diff)
				}
				if len(r.Records) == 0 || r.Records[0].Type != "A" {
					t.Errorf("the run has the records %+v, want the A record first", r.Records)
				}
			})
		}
	}
}

func TestTenantDNSTwins(t *testing.T) {
	stale := record("A", "192.0.2.9")
	for _, test := range []struct {
		name string
		have []provision.Record
		twin func(*fakeZone)
		err  string
	}{
		{"the twin created it", nil, func(z *fakeZone) { z.put(record("A", "192.0.2.1")) }, ""},
		{"the twin deleted the duplicate", []provision.Record{stale, record("A", "192.0.2.1")}, func(z *fakeZone) { z.remove("r1") }, ""},
		{"the twin replaced it", []provision.Record{stale}, func(z *fakeZone) { z.remove("r1"); z.put(record("A", "192.0.2.1")) }, ""},
		{"another tenant was faster", nil, func(z *fakeZone) { z.put(by(other, record("CNAME", "x.example.com"))) }, `owner "prego tenant=rival"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			z := zone(test.have...)
			z.early = test.twin
			_, err := pipeline.TenantDNS(z, pipeline.DNSPolicy{Proxied: true}).Do(t.Context(), dnsRun(""))
			if test.err != "" {
				wantError(t, err, provision.Conflict, test.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]provision.Record{record("A", "192.0.2.1")}, z.acme(), noID); diff != "" {
				t.Errorf("the zone has (-want +got)\n%s", diff)
			}
		})
	}
}

// A zone that never answers, or that another keeps changing, is given up in the end.
func TestTenantDNSGivesUp(t *testing.T) {
	t.Run("no answer", func(t *testing.T) {
		z := zone(record("CNAME", "pool.example.com"))
		var again func(*fakeZone)
		again = func(z *fakeZone) { // whatever is freed is taken again
			z.early = again
			if len(z.records) == 0 {
				z.put(record("CNAME", "pool.example.com"))
			}
		}
		z.early = again
		_, err := pipeline.TenantDNS(z, pipeline.DNSPolicy{Proxied: true}).Do(t.Context(), dnsRun(""))
		wantError(t, err, provision.Conflict, "already exists")
		if len(z.calls) > 20 {
			t.Errorf("%d changes were sent before giving up", len(z.calls))
		}
	})
	t.Run("denied", func(t *testing.T) {
		z := zone()
		z.deny = "create A"
		_, err := pipeline.TenantDNS(z, pipeline.DNSPolicy{Proxied: true}).Do(t.Context(), dnsRun(""))
		wantError(t, err, provision.Denied, "may not")
		if len(z.calls) != 1 {
			t.Errorf("a refusal was sent %d times, want once", len(z.calls))
		}
	})
}

// A name that no tenant may have, or that another has, is refused before anything is made.
func TestTenantDNSChecksFirst(t *testing.T) {
	for _, test := range []struct {
		hostname string
		have     []provision.Record
		class    provision.Class
		want     string
	}{
		{"acme.pregoi.com", nil, "", ""},
		{"acme.pregoi.com", []provision.Record{record("A", "192.0.2.9")}, "", ""}, // its own, of an earlier run
		{"acme.example.com", nil, provision.Invalid, "not below the zone"},
		{"pregoi.com", nil, provision.Invalid, "not below the zone"},
		{"www.pregoi.com", nil, provision.Invalid, "reserved"},
		{"acme.pregoi.com", []provision.Record{by(other, record("A", "192.0.2.9"))}, provision.Conflict, `owner "prego tenant=rival"`},
	} {
		for _, plan := range []bool{false, true} {
			z := zone(test.have...)
			r := dnsRun("")
			r.Job.CanonicalHostname = test.hostname
			var did diary
			err := pipeline.Execute(t.Context(), r, pipeline.Options{Plan: plan}, new(trace), did.step("make"),
				pipeline.TenantDNS(z, pipeline.DNSPolicy{Proxied: true, Reserved: provision.ReservedNames()}))
			wantError(t, err, test.class, test.want)
			if refused := test.class != ""; refused != (did == nil) || refused && z.calls != nil {
				t.Errorf("%s, planned %t: did %q, changes %q", test.hostname, plan, did, z.calls)
			}
		}
	}
}

func TestTenantDNSAddresses(t *testing.T) {
	const no4, no6 = "no public IPv4 address", "no public IPv6 address"
	for _, test := range []struct{ host, ipv6, want string }{
		{"192.0.2.1", "", ""},
		{"203.0.113.7", "2001:db8::1", ""},
		{"100.128.0.1", "", ""},
		{"node.example.com", "", no4},
		{"2001:db8::1", "", no4},
		{"::ffff:203.0.113.7", "", no4},
		{"10.0.0.2", "", no4},
		{"172.16.0.2", "", no4},
		{"192.168.0.2", "", no4},
		{"100.64.0.2", "", no4},
		{"127.0.0.1", "", no4},
		{"169.254.0.2", "", no4},
		{"0.0.0.0", "", no4},
		{"224.0.0.1", "", no4},
		{"255.255.255.255", "", no4},
		{"203.0.113.7", "192.0.2.1", no6},
		{"203.0.113.7", "x", no6},
		{"203.0.113.7", "::ffff:203.0.113.7", no6},
		{"203.0.113.7", "::1", no6},
		{"203.0.113.7", "::", no6},
		{"203.0.113.7", "fd00::1", no6},
		{"203.0.113.7", "fe80::1", no6},
		{"203.0.113.7", "ff02::1", no6},
		{"203.0.113.7", "2001:db8::1%eth0", no6},
	} {
		z := zone()
		r := dnsRun(test.ipv6)
		r.Node.Host = test.host
		step := pipeline.TenantDNS(z, pipeline.DNSPolicy{Proxied: true})
		class := provision.Invalid
		if test.want == "" {
			class = ""
		}
		_, err := step.Plan(t.Context(), r)
		wantError(t, err, class, test.want)
		_, err = step.Do(t.Context(), r)
		wantError(t, err, class, test.want)
		if (z.calls == nil) != (class != "") {
			t.Errorf("%s and %q: changes %q", test.host, test.ipv6, z.calls)
		}
	}
}

// The address of a server that is only planned is not known.
func TestTenantDNSPlanWithoutServer(t *testing.T) {
	plan, err := pipeline.TenantDNS(zone(), pipeline.DNSPolicy{}).Plan(t.Context(), newRun(shared()))
	if want := "point acme.pregoi.com at the new server"; plan != want || err != nil {
		t.Errorf("Plan = %q, %v; want %q", plan, err, want)
	}
}

// What has been made is in the run, also if the rest could not be.
func TestTenantDNSKeepsWhatItMade(t *testing.T) {
	for _, test := range []struct {
		name string
		have []provision.Record
		deny string
		want []provision.Record
	}{
		{"A made, AAAA refused", nil, "create AAAA", []provision.Record{record("A", "192.0.2.1")}},
		{"A updated, AAAA refused", []provision.Record{record("A", "192.0.2.9")}, "create AAAA", []provision.Record{record("A", "192.0.2.1")}},
		{"A refused", nil, "create A", nil},
		{"A refused, AAAA there", []provision.Record{record("AAAA", "2001:db8::1")}, "create A", []provision.Record{record("AAAA", "2001:db8::1")}},
		{"A made, AAAA of an earlier run not updated", []provision.Record{record("AAAA", "2001:db8::9")}, "update AAAA",
			[]provision.Record{record("A", "192.0.2.1")}},
		{"A made, another look refused", []provision.Record{record("AAAA", "2001:db8::1")}, "another look",
			[]provision.Record{record("A", "192.0.2.1"), record("AAAA", "2001:db8::1")}},
		{"stale one refused, AAAA there", []provision.Record{record("AAAA", "2001:db8::1"), record("CNAME", "x.example.com")}, "delete CNAME",
			[]provision.Record{record("AAAA", "2001:db8::1")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			z := zone(test.have...)
			r := dnsRun("2001:db8::1")
			z.deny = test.deny
			_, err := pipeline.TenantDNS(z, pipeline.DNSPolicy{Proxied: true}).Do(t.Context(), r)
			wantError(t, err, provision.Denied, "may not")
			if diff := cmp.Diff(test.want, r.Records, noID); diff != "" {
				t.Errorf("the run's records (-want +got)\n%s", diff)
			}
			for _, record := range r.Records {
				if record.ID == "" {
					t.Errorf("the run's record %+v has no ID", record)
				}
			}
		})
	}
}
