package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A farZone is a zone as one tenant sees it: every call takes a while, half of it before
// the zone acts. Nobody may delete what is another's.
type farZone struct {
	*fakeZone
	t     *testing.T
	owner string
	half  time.Duration
	first *string // the owner of the first record of all
}

// far makes a call from far away.
func (z farZone) far(do func()) {
	<-time.After(z.half)
	do()
	<-time.After(z.half)
}

func (z farZone) Records(ctx context.Context, hostname string) (list []provision.Record, err error) {
	z.far(func() { list, err = z.fakeZone.Records(ctx, hostname) })
	return list, err
}

func (z farZone) Create(ctx context.Context, r provision.Record) (made provision.Record, err error) {
	z.far(func() {
		if made, err = z.fakeZone.Create(ctx, r); made.ID == "r1" {
			*z.first = z.owner
		}
	})
	return made, err
}

func (z farZone) Delete(ctx context.Context, r provision.Record) (err error) {
	z.far(func() {
		have, _ := z.fakeZone.Records(ctx, r.Name)
		if slices.ContainsFunc(have, func(h provision.Record) bool { return h.ID == r.ID && h.Comment != z.owner }) {
			z.t.Errorf("%s deletes another's record %+v", z.owner, r)
		}
		err = z.fakeZone.Delete(ctx, r)
	})
	return err
}

// Two tenants take one name at the same moment. Whatever comes between what, the first of
// them gets it, and of the other nothing stays.
func TestTenantDNSRace(t *testing.T) {
	halves := []time.Duration{0, 40 * time.Millisecond, 100 * time.Millisecond}
	for _, ours := range halves {
		for _, theirs := range halves {
			for late := time.Duration(0); late <= 400*time.Millisecond; late += 50 * time.Millisecond {
				for _, ipv6 := range []string{"", "2001:db8::"} {
					t.Run(fmt.Sprintf("%s,%s,%s,%s", ours, theirs, late, ipv6), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { race(t, ours, theirs, late, ipv6) })
					})
				}
			}
		}
	}
}

func race(t *testing.T, ours, theirs, late time.Duration, ipv6 string) {
	z := zone()
	first := ""
	runs, errs := make([]*pipeline.Run, 2), make([]error, 2)
	var both sync.WaitGroup
	for i, half := range []time.Duration{ours, theirs} {
		r := newRun(shared())
		r.Job.TenantID = fmt.Sprintf("tenant-%d", i)
		r.Node = provision.Node{ID: "n", Host: fmt.Sprintf("192.0.2.%d", i)}
		if ipv6 != "" {
			r.Node.IPv6 = ipv6 + fmt.Sprint(i+1)
		}
		runs[i] = r
		far := farZone{z, t, provision.RecordComment(r.Job.TenantID), half, &first}
		both.Go(func() {
			<-time.After(time.Duration(i) * late)
			_, errs[i] = pipeline.TenantDNS(far, pipeline.DNSPolicy{Proxied: true}).Do(t.Context(), r)
		})
	}
	both.Wait()
	winner := 0
	if first == provision.RecordComment(runs[1].Job.TenantID) {
		winner = 1
	}
	if errs[winner] != nil {
		t.Errorf("the first of them: %v", errs[winner])
	}
	wantError(t, errs[1-winner], provision.Conflict, "another owner")
	if diff := cmp.Diff(z.acme(), runs[winner].Records, sameRecords); diff != "" || len(z.acme()) == 0 {
		t.Errorf("the zone and the first run (-zone +run)\n%s", diff)
	}
	if len(runs[1-winner].Records) > 0 {
		t.Errorf("the loser says that it has %+v", runs[1-winner].Records)
	}
}

// What a rival does when this run makes its first record, and what becomes of it.
func TestTenantDNSRivals(t *testing.T) {
	theirs := by(other, record("A", "192.0.2.8"))
	// takes gives the rival a record that is younger by so much, where this run's next one
	// is younger by a second.
	takes := func(younger time.Duration, id string) func(*fakeZone) {
		return func(z *fakeZone) {
			z.put(theirs)
			r := &z.records[len(z.records)-1]
			r.ID, r.CreatedOn = id, r.CreatedOn.Add(younger)
		}
	}
	leaves := func(after time.Duration, take func(*fakeZone)) func(*fakeZone) {
		return func(z *fakeZone) {
			take(z)
			id := z.records[len(z.records)-1].ID
			time.AfterFunc(after, func() {
				z.mu.Lock()
				defer z.mu.Unlock()
				z.remove(id)
			})
		}
	}
	a, aaaa := record("A", "192.0.2.1"), record("AAAA", "2001:db8::1")
	list := func(r ...provision.Record) []provision.Record { return r }
	for _, test := range []struct {
		name  string
		have  []provision.Record
		early func(*fakeZone)
		lose  int
		deny  string
		took  time.Duration
		class provision.Class
		want  []provision.Record // in the zone, in the end
		keeps []provision.Record // the run says it has
	}{
		{name: "the rival was first", early: takes(0, "r99"), class: provision.Conflict, want: list(theirs)},
		{name: "the rival was first, and our answer is lost", early: takes(0, "r99"), lose: 1, class: provision.Conflict, want: list(theirs)},
		{name: "the rival was first, and our withdrawal is not answered", early: takes(0, "r99"), lose: 2, class: provision.Conflict, want: list(theirs)},
		{name: "a tie, the rival's ID is less", early: takes(time.Second, "r0"), class: provision.Conflict, want: list(theirs)},
		{name: "a tie, our ID is less", early: leaves(800*time.Millisecond, takes(time.Second, "r99")), took: time.Second, want: list(a, aaaa), keeps: list(a, aaaa)},
		{name: "the rival was second, and leaves slowly", early: leaves(1200*time.Millisecond, takes(time.Hour, "r0")), took: 1500 * time.Millisecond,
			want: list(a, aaaa), keeps: list(a, aaaa)},
		{name: "the rival was second, and stays", early: takes(time.Hour, "r0"), took: 2500 * time.Millisecond, class: provision.Conflict, want: list(theirs)},
		{name: "the name was ours before", have: list(a), early: leaves(800*time.Millisecond, takes(0, "r99")), took: time.Second,
			want: list(a, aaaa), keeps: list(a, aaaa)},
		{name: "our first is overwritten", early: func(z *fakeZone) {
			z.early = func(z *fakeZone) { z.records[0] = by(other, z.records[0]) }
		}, class: provision.Conflict, want: list(by(other, a))},
		{name: "our own cannot be deleted", early: takes(0, "r99"), deny: "delete AAAA", class: provision.Conflict, want: list(theirs, aaaa), keeps: list(aaaa)},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z := zone(test.have...)
				z.early, z.lose, z.deny = test.early, test.lose, test.deny
				r := dnsRun("2001:db8::1")
				start := time.Now()
				_, err := pipeline.TenantDNS(z, pipeline.DNSPolicy{Proxied: true}).Do(t.Context(), r)
				wantError(t, err, test.class)
				if took := time.Since(start); took != test.took {
					t.Errorf("it took %s, want %s", took, test.took)
				}
				if diff := cmp.Diff(test.want, z.acme(), sameRecords, noID); diff != "" {
					t.Errorf("the zone has (-want +got)\n%s", diff)
				}
				if diff := cmp.Diff(test.keeps, r.Records, noID); diff != "" {
					t.Errorf("the run has (-want +got)\n%s", diff)
				}
				if test.deny != "" {
					wantError(t, err, test.class, "our own record AAAA 2001:db8::1 stays beside it", "may not")
				}
			})
		})
	}
}
