package hetzner_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	vendor "github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

func dedicated(region placement.Region) provision.Job {
	j := job(region)
	j.Dedicated = true
	return j
}

// eu is an order with two locations and two types.
func eu() provision.Order {
	return provision.Order{Locations: []string{"nbg1", "fsn1"}, Types: []string{"cpx22", "cx33"}, Image: "ubuntu-24.04"}
}

func names(places []provision.Place) []string {
	var list []string
	for _, p := range places {
		list = append(list, p.String())
	}
	return list
}

// TestPreflightOffers looks at what is to be had, within the vendor's contract.
func TestPreflightOffers(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		job     provision.Job
		order   provision.Order
		world   func(*world)
		places  []string
		skipped []string
		warned  []string
	}{
		"all": {job: job(placement.EU), order: eu(),
			places: []string{"cpx22 at nbg1", "cpx22 at fsn1", "cx33 at nbg1", "cx33 at fsn1"}},
		"nothing is asked for": {job: job(placement.EU)},
		"sold out at the first": {job: job(placement.EU), order: eu(),
			world:   func(w *world) { w.SetUnavailable("cpx22", "nbg1", true); w.SetUnavailable("cx33", "fsn1", true) },
			places:  []string{"cpx22 at fsn1", "cx33 at nbg1"},
			skipped: []string{"cpx22 at nbg1 (cpx22 is not available there at the moment)", "cx33 at fsn1 (cx33 is not available there at the moment)"},
			warned:  []string{"cpx22 at nbg1 is left out: cpx22 is not available there at the moment"}},
		"not sold there": {job: job(placement.EU), order: provision.Order{Locations: []string{"hel1"}, Types: []string{"cpx21", "cpx22"}},
			places: []string{"cpx22 at hel1"}, skipped: []string{"cpx21 at hel1 (cpx21 is not sold there)"}},
		"deprecated": {job: job(placement.EU), order: eu(),
			world: func(w *world) {
				w.SetDeprecated("cpx22", "nbg1", now.Add(-time.Hour))
				w.SetDeprecated("cpx22", "fsn1", time.Date(2999, 5, 6, 0, 0, 0, 0, time.UTC))
			},
			places:  []string{"cpx22 at fsn1", "cx33 at nbg1", "cx33 at fsn1"},
			skipped: []string{"cpx22 at nbg1 (cpx22 is not sold there any more)"},
			warned:  []string{"server type cpx22 is deprecated at fsn1, and not sold there after 2999-05-06"}},
		"the roles of a dedicated stack have to be had at one place": {job: dedicated(placement.EU),
			order:   provision.Order{Locations: []string{"nbg1", "fsn1"}, Types: []string{"cpx22"}, DBTypes: []string{"ccx13"}},
			world:   func(w *world) { w.SetUnavailable("ccx13", "nbg1", true) },
			places:  []string{"cpx22 and ccx13 at fsn1"},
			skipped: []string{"cpx22 and ccx13 at nbg1 (ccx13 is not available there at the moment)"},
			warned:  []string{"cpx22 and ccx13 at nbg1 is left out: ccx13 is not available there at the moment"}},
		"shared servers may be in several network zones": {job: job(placement.US),
			order: provision.Order{Locations: []string{"ash", "hil"}, Types: []string{"cpx21"}}, places: []string{"cpx21 at ash", "cpx21 at hil"}},
		"those of a dedicated stack may not": {job: dedicated(placement.US),
			order:   provision.Order{Locations: []string{"ash", "hil"}, Types: []string{"cpx21"}},
			places:  []string{"cpx21 at ash"},
			skipped: []string{"cpx21 at hil (in network zone us-west, and the tenant's servers are in us-east)"}},
		"the first zone where something is to be had": {job: dedicated(placement.US),
			order:   provision.Order{Locations: []string{"ash", "hil"}, Types: []string{"cpx21"}},
			world:   func(w *world) { w.SetUnavailable("cpx21", "ash", true) },
			places:  []string{"cpx21 at hil"},
			skipped: []string{"cpx21 at ash (cpx21 is not available there at the moment)"},
			warned:  []string{"cpx21 at ash is left out: cpx21 is not available there at the moment"}},
		"the zone of the network that is there": {job: dedicated(placement.US),
			order:   provision.Order{Locations: []string{"ash", "hil"}, Types: []string{"cpx21"}},
			world:   func(w *world) { w.network(hcloud.NetworkZoneUSWest, map[string]string{"tenant_id": "acme"}) },
			places:  []string{"cpx21 at hil"},
			skipped: []string{"cpx21 at ash (in network zone us-east, and the tenant's servers are in us-west)"}},
		"another tenant's network does not matter": {job: dedicated(placement.US),
			order:   provision.Order{Locations: []string{"ash", "hil"}, Types: []string{"cpx21"}},
			world:   func(w *world) { w.network(hcloud.NetworkZoneUSWest, map[string]string{"tenant_id": "rival"}) },
			places:  []string{"cpx21 at ash"},
			skipped: []string{"cpx21 at hil (in network zone us-west, and the tenant's servers are in us-east)"}},
		"a type of the program's own": {job: job(placement.EU), order: provision.Order{Locations: []string{"nbg1"}}, places: []string{"a server at nbg1"}},
		"what exists needs nothing more": {job: job(placement.EU), order: provision.Order{Locations: []string{"nbg1"}, Types: []string{"cpx22"}, Image: "gone"},
			world: func(w *world) {
				w.add("app", "nbg1", map[string]string{"job_id": "job-1"})
				w.SetUnavailable("cpx22", "nbg1", true)
			},
			places: []string{"cpx22 at nbg1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, vendor.Options{}, func(h http.Handler) http.Handler { return contract.Handler(t, "hcloud.json", "/v1", h) })
			if test.world != nil {
				test.world(w)
			}
			before := w.Mutations("token")
			offer, err := w.project.Preflight(t.Context(), test.job, test.order, true)
			if err != nil {
				t.Fatal(err)
			}
			for what, lists := range map[string][2][]string{
				"places": {test.places, names(offer.Places)}, "skipped": {test.skipped, offer.Skipped}, "warnings": {test.warned, offer.Warnings},
			} {
				if diff := cmp.Diff(lists[0], lists[1]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", what, diff)
				}
			}
			if n := w.Mutations("token") - before; n != 0 {
				t.Errorf("asking changed %d things", n)
			}
		})
	}
}

// network makes a network with a subnet in a zone.
func (w *world) network(zone hcloud.NetworkZone, labels map[string]string) {
	w.t.Helper()
	_, whole, _ := net.ParseCIDR("10.0.0.0/16")
	_, part, _ := net.ParseCIDR("10.0.1.0/24")
	_, _, err := w.other.Network.Create(w.t.Context(), hcloud.NetworkCreateOpts{Name: "n", IPRange: whole, Labels: labels,
		Subnets: []hcloud.NetworkSubnet{{Type: hcloud.NetworkSubnetTypeCloud, IPRange: part, NetworkZone: zone}}})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestPreflightRefuses names all that is wrong with an order, each with its cure.
func TestPreflightRefuses(t *testing.T) {
	soldOut := func(w *world) {
		for _, l := range []string{"nbg1", "fsn1"} {
			w.SetUnavailable("cpx22", l, true)
			w.SetUnavailable("cx33", l, true)
		}
	}
	for name, test := range map[string]struct {
		order provision.Order
		world func(*world)
		token string
		class provision.Class
		says  []string
		next  []string
	}{
		"everything": {order: provision.Order{Locations: []string{"mars", "sin"}, Types: []string{"cpx22", "huge"}, Image: "windows", SSHKey: "ops"},
			class: provision.Invalid,
			says: []string{"5 things are wrong", "no server type huge", "no image windows for the architecture x86 of server type cpx22",
				"no location mars", "location sin is not in region eu, which has nbg1, fsn1, hel1", "no SSH key ops"},
			next: []string{"server_type", "server_image", "server_location", "ssh_key_name"}},
		"an image for another architecture": {order: provision.Order{Locations: []string{"nbg1"}, Types: []string{"cax11"}, Image: "161547000x"},
			class: provision.Invalid, says: []string{"arm"}, next: []string{"server_image"}},
		"nothing to be had": {order: eu(), world: soldOut, class: provision.NoCapacity,
			says: []string{"cpx22 at nbg1 (", "cpx22 at fsn1 (", "cx33 at nbg1 (", "cx33 at fsn1 ("}, next: []string{"server_location", "later"}},
		"nothing that is ever sold": {order: provision.Order{Locations: []string{"nbg1"}, Types: []string{"cpx21"}}, class: provision.Invalid,
			says: []string{"cpx21 at nbg1 (cpx21 is not sold there)"}, next: []string{"server_location"}},
		"a token that may only read": {order: eu(), token: "look", class: provision.Denied, says: []string{"token_readonly"}, next: []string{"HCLOUD_TOKEN", "write"}},
		"a wrong token":              {order: eu(), token: "nobody's", class: provision.Denied, says: []string{"unauthorized"}, next: []string{"HCLOUD_TOKEN"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, vendor.Options{}, nil)
			if test.world != nil {
				test.world(w)
			}
			if test.token != "" {
				w.project.Token = test.token
			}
			_, err := w.project.Preflight(t.Context(), job(placement.EU), test.order, true)
			if provision.ClassOf(err) != test.class {
				t.Fatalf("%v (%s), want %s", err, provision.ClassOf(err), test.class)
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
			for _, text := range test.next {
				if !strings.Contains(provision.NextAction(err), text) {
					t.Errorf("the cure %q does not say %q", provision.NextAction(err), text)
				}
			}
		})
	}
}

// TestPreflightOfAPlan needs no token that may write, and asks for none.
func TestPreflightOfAPlan(t *testing.T) {
	w := newWorld(t, vendor.Options{}, nil)
	w.project.Token = "look"
	offer, err := w.project.Preflight(t.Context(), job(placement.EU), eu(), false)
	if err != nil || len(offer.Places) != 4 {
		t.Errorf("%v, %v", offer, err)
	}
}

// TestPreflightMayWrite takes no other refusal than of the token for an answer.
func TestPreflightMayWrite(t *testing.T) {
	for code, want := range map[string]provision.Class{"invalid_input": "", "json_error": "", "resource_limit_exceeded": "",
		"uniqueness_error": "", "token_readonly": provision.Denied, "unauthorized": provision.Denied, "forbidden": provision.Denied, "maintenance": provision.Busy} {
		w := newWorld(t, vendor.Options{}, func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost {
					h.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, `{"error":{"code":"`+code+`","message":"no","details":null}}`)
			})
		})
		if _, err := w.project.Preflight(t.Context(), job(placement.EU), eu(), true); provision.ClassOf(err) != want {
			t.Errorf("%s: %v, want %q", code, err, want)
		}
	}
}

// TestPreflightLostAnswers asks again, and says that nobody answered when nobody does.
func TestPreflightLostAnswers(t *testing.T) {
	w := newWorld(t, vendor.Options{}, nil)
	var n atomic.Int32
	w.Faults.Set(func(*http.Request) standin.Action { return standin.Action{Lose: n.Add(1)%2 == 1} })
	if offer, err := w.project.Preflight(t.Context(), job(placement.EU), eu(), true); err != nil || len(offer.Places) != 4 {
		t.Errorf("with every other answer lost: %v, %v", offer, err)
	}
	w.Faults.Set(func(*http.Request) standin.Action { return standin.Action{Lose: true} })
	if _, err := w.project.Preflight(t.Context(), job(placement.EU), eu(), true); provision.ClassOf(err) != provision.Busy {
		t.Errorf("with all answers lost: %v, want busy", err)
	}
}

// TestPreflightOfAFormerNeighbour does not take a server that the tenant shared with others
// for one of its own.
func TestPreflightOfAFormerNeighbour(t *testing.T) {
	w := newWorld(t, vendor.Options{}, nil)
	w.add("shared", "nbg1", map[string]string{"tenant_id": "acme", "node_key": "job-0"})
	w.SetUnavailable("cpx22", "nbg1", true)
	o := provision.Order{Locations: []string{"nbg1"}, Types: []string{"cpx22"}}
	if _, err := w.project.Preflight(t.Context(), dedicated(placement.EU), o, true); provision.ClassOf(err) != provision.NoCapacity {
		t.Errorf("%v, want no_capacity", err)
	}
	w.add("app", "nbg1", map[string]string{"tenant_id": "acme"})
	if offer, err := w.project.Preflight(t.Context(), dedicated(placement.EU), o, true); err != nil || len(offer.Places) != 1 {
		t.Errorf("with a server of its own: %v, %v", offer, err)
	}
}
