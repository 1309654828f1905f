package provision_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/provision"
)

func TestPlaces(t *testing.T) {
	for name, test := range map[string]struct {
		order provision.Order
		want  []string
	}{
		"nothing is said": {provision.Order{Image: "debian-12"}, nil},
		"all locations for the first type, then for the next": {
			provision.Order{Locations: []string{"nbg1", "fsn1"}, Types: []string{"cpx22", "cx33"}},
			[]string{"cpx22 at nbg1", "cpx22 at fsn1", "cx33 at nbg1", "cx33 at fsn1"},
		},
		"types alone":     {provision.Order{Types: []string{"cpx22", "cx33"}}, []string{"cpx22", "cx33"}},
		"locations alone": {provision.Order{Locations: []string{"ash", "hil"}}, []string{"a server at ash", "a server at hil"}},
		"a shorter list goes on with its last": {
			provision.Order{Locations: []string{"nbg1"}, Types: []string{"cpx22"}, DBTypes: []string{"ccx13", "ccx23"}},
			[]string{"cpx22 and ccx13 at nbg1", "cpx22 and ccx23 at nbg1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range test.order.Places() {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("places (-want +got):\n%s", diff)
			}
		})
	}
}
