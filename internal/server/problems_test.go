package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// An answer names all that is wrong, whoever has found it, and repeats little of it.
func TestProblemsNameEverything(t *testing.T) {
	t.Parallel()
	base, _ := start(t, config(t))
	long := strings.Repeat("x", 30000)
	for name, test := range map[string]struct {
		path, body string
		status     int
		want       []string // locations
	}{
		"a node": {"/internal/nodes", `{"node_id":"n1","region":"mars","host":"a b","ipv6":"1.2.3.4","dedicated":true}`, 422,
			[]string{"body.host", "body.ipv6", "body.region", "body.tenant_id"}},
		"a node of this machine's network": {"/internal/nodes", `{"node_id":"n1","region":"sg","host":"fe80::1%eth0"}`, 422, []string{"body.host"}},
		"a tenant": {"/v1/tenants", `{"subdomain_slug":"A_","plan_tier":"gold","region":"mars"}`, 422,
			[]string{"body.plan_tier", "body.region", "body.subdomain_slug"}},
		"another tenant than the path's": {"/internal/tenants/acme-1/enqueue-provision", `{"tenant_id":"birch-2"}`, 422, []string{"body.tenant_id"}},
		"no JSON":                        {"/internal/nodes", `{"node_id":"` + long, 400, []string{"body"}},
		"a long name":                    {"/internal/nodes", `{"node_id":"` + long + `","region":"sg","host":"203.0.113.7"}`, 422, []string{"body.node_id"}},
		"an event beside many":           {"/internal/trace-events", `{"event_id":"e","events":[]}`, 422, []string{}},
		"very many": {"/internal/trace-events", `{"events":[1` + strings.Repeat(",1", 100_000) + `]}`, 422,
			slices.Insert(events(99), 0, "body.events")},
	} {
		resp, got := do(t, "POST", base+test.path, test.body)
		p := decode[struct {
			Class  string
			Next   string `json:"next_action"`
			Errors []struct{ Location string }
		}](t, got)
		at := []string{}
		for _, e := range p.Errors {
			if e.Location != "" {
				at = append(at, e.Location)
			}
		}
		slices.Sort(at)
		slices.Sort(test.want)
		if resp.StatusCode != test.status || !slices.Equal(at, test.want) || p.Class != "invalid" || p.Next == "" || len(got) > 20_000 {
			t.Errorf("%s: %d with %d bytes, %v, want %d and %v: %.500s", name, resp.StatusCode, len(got), at, test.status, test.want, got)
		}
	}
}

func events(n int) (at []string) {
	for i := range n {
		at = append(at, fmt.Sprintf("body.events[%d]", i))
	}
	return at
}
