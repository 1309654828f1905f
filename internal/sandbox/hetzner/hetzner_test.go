package hetzner_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
)

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE5Lz0hMr1z3zHqSg0h4YfzBk4dWl0F0Zq0n9nq0Yk2m somebody"

// serve starts s and returns the vendor's own client for token. Nothing is retried, so
// that a test sees each answer.
func serve(t *testing.T, h http.Handler, token string) *hcloud.Client {
	t.Helper()
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	return client(web.URL, token)
}

func client(url, token string) *hcloud.Client {
	return hcloud.NewClient(
		hcloud.WithEndpoint(url+"/v1"),
		hcloud.WithToken(token),
		hcloud.WithPollOpts(hcloud.PollOpts{BackoffFunc: hcloud.ConstantBackoff(2 * time.Millisecond)}),
		hcloud.WithRetryOpts(hcloud.RetryOpts{MaxRetries: 0, BackoffFunc: hcloud.ConstantBackoff(0)}),
	)
}

func options() hetzner.Options {
	return hetzner.Options{
		Tokens: map[string]hetzner.Token{
			"one":   {Project: "p1"},
			"two":   {Project: "p2"},
			"again": {Project: "p1"},
			"look":  {Project: "p1", ReadOnly: true},
		},
	}
}

func order(name string) hcloud.ServerCreateOpts {
	return hcloud.ServerCreateOpts{
		Name:       name,
		ServerType: &hcloud.ServerType{Name: "cpx22"},
		Image:      &hcloud.Image{Name: "ubuntu-24.04"},
		Location:   &hcloud.Location{Name: "sin"},
		Labels:     map[string]string{"tenant_id": "acme"},
	}
}

func network(t *testing.T, cidr string) *net.IPNet {
	t.Helper()
	_, n, err := net.ParseCIDR(cidr)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What the vendor refuses is refused with its code, whatever else is right.
func TestRefusals(t *testing.T) {
	t.Parallel()
	o := options()
	o.MaxServers = 3
	s := hetzner.New(o)
	h := s.Handler()
	c := serve(t, h, "one")
	ctx := t.Context()
	first, _, err := c.Server.Create(ctx, order("first"))
	if err != nil {
		t.Fatal(err)
	}
	s.SetUnavailable("cpx32", "sin", true)
	s.SetFull("cpx42", "sin", true)
	s.SetDeprecated("cpx12", "sin", time.Now())
	empty := func(c *hcloud.Client) error {
		req, err := c.NewRequest(ctx, "POST", "/placement_groups", strings.NewReader("{}"))
		if err == nil {
			_, err = c.Do(req, nil)
		}
		return err
	}
	create := func(change func(*hcloud.ServerCreateOpts)) func(*hcloud.Client) error {
		return func(c *hcloud.Client) error {
			o := order("second")
			change(&o)
			_, _, err := c.Server.Create(ctx, o)
			return err
		}
	}
	tests := []struct {
		name, token string
		do          func(*hcloud.Client) error
		want        hcloud.ErrorCode
		status      int
	}{
		{"unknown token", "none", create(func(*hcloud.ServerCreateOpts) {}), "unauthorized", 401},
		{"token that may only look", "look", create(func(*hcloud.ServerCreateOpts) {}), "token_readonly", 401},
		{"name in use", "again", create(func(o *hcloud.ServerCreateOpts) { o.Name = "first" }), "uniqueness_error", 409},
		{"no hostname", "one", create(func(o *hcloud.ServerCreateOpts) { o.Name = "under_score" }), "invalid_input", 422},
		{"bad label", "one", create(func(o *hcloud.ServerCreateOpts) { o.Labels = map[string]string{"a": "b c"} }), "invalid_input", 422},
		{"unknown type", "one", create(func(o *hcloud.ServerCreateOpts) { o.ServerType.Name = "huge" }), "invalid_input", 422},
		{"type not there", "one", create(func(o *hcloud.ServerCreateOpts) { o.ServerType.Name = "cx23" }), "invalid_input", 422},
		{"type sold out", "one", create(func(o *hcloud.ServerCreateOpts) { o.ServerType.Name = "cpx32" }), "resource_unavailable", 412},
		{"no room there", "one", create(func(o *hcloud.ServerCreateOpts) { o.ServerType.Name = "cpx42" }), "resource_unavailable", 412},
		{"type not sold any more", "one", create(func(o *hcloud.ServerCreateOpts) { o.ServerType.Name = "cpx12" }), "invalid_input", 422},
		{"nothing said", "one", empty, "invalid_input", 422},
		{"nothing said with a token that may only look", "look", empty, "token_readonly", 401},
		{"unknown network", "one", create(func(o *hcloud.ServerCreateOpts) { o.Networks = []*hcloud.Network{{ID: 5}} }), "not_found", 404},
		{"another project's server", "two", func(c *hcloud.Client) error {
			_, _, err := c.Server.DeleteWithResult(ctx, first.Server)
			return err
		}, "not_found", 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do(serve(t, h, tt.token))
			var e hcloud.Error
			if !hcloud.IsError(err, tt.want) {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
			if e = err.(hcloud.Error); e.Response().StatusCode != tt.status {
				t.Errorf("status %d, want %d", e.Response().StatusCode, tt.status)
			}
		})
	}
	if got := s.Mutations("one"); got != 1 {
		t.Errorf("%d requests changed something, want 1", got)
	}
	for _, name := range []string{"second", "third"} {
		if _, _, err := c.Server.Create(ctx, order(name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Server.Create(ctx, order("fourth")); !hcloud.IsError(err, hcloud.ErrorCodeResourceLimitExceeded) {
		t.Errorf("fourth server: %v", err)
	}
}

func TestPlacementGroupIsFull(t *testing.T) {
	t.Parallel()
	c := serve(t, hetzner.New(options()).Handler(), "one")
	group, _, err := c.PlacementGroup.Create(t.Context(), hcloud.PlacementGroupCreateOpts{Name: "g", Type: hcloud.PlacementGroupTypeSpread})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 11 {
		o := order(string(rune('a' + i)))
		o.PlacementGroup = group.PlacementGroup
		_, _, err := c.Server.Create(t.Context(), o)
		if wrong := hcloud.IsError(err, hcloud.ErrorCodePlacementError); wrong != (i == 10) || !wrong && err != nil {
			t.Errorf("server %d: %v", i+1, err)
		}
	}
}

// Time passes for actions and servers as the clock says, and a busy server is locked.
func TestActionsTakeTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	o := options()
	o.ActionTime = 40 * time.Second
	o.Now = func() time.Time { return now }
	s := hetzner.New(o)
	c := serve(t, s.Handler(), "one")
	made, _, err := c.Server.Create(t.Context(), order("app"))
	if err != nil {
		t.Fatal(err)
	}
	type state struct {
		Server, Create, Start string
		Locked                bool
	}
	var got []state
	for range 3 {
		server, _, err := c.Server.GetByID(t.Context(), made.Server.ID)
		if err != nil {
			t.Fatal(err)
		}
		actions, err := c.Action.AllWithOpts(t.Context(), hcloud.ActionListOpts{ID: []int64{made.Action.ID, made.NextActions[0].ID}})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, state{string(server.Status), string(actions[0].Status), string(actions[1].Status), server.Locked})
		_, _, err = c.Server.Reboot(t.Context(), server)
		if locked := hcloud.IsError(err, hcloud.ErrorCodeLocked); locked != server.Locked {
			t.Errorf("reboot after %v: %v", now, err)
		}
		now = now.Add(20 * time.Second)
	}
	want := []state{
		{"initializing", "running", "running", true},
		{"starting", "success", "running", true},
		{"running", "success", "success", false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFailActions(t *testing.T) {
	t.Parallel()
	s := hetzner.New(options())
	s.FailActions("create_server", "server_error", "host is gone")
	c := serve(t, s.Handler(), "one")
	made, _, err := c.Server.Create(t.Context(), order("app"))
	if err != nil {
		t.Fatal(err)
	}
	err = c.Action.WaitFor(t.Context(), made.Action)
	if err == nil || !strings.Contains(err.Error(), "host is gone (server_error") {
		t.Errorf("got %v", err)
	}
	if got := s.Servers("one")[0].Status; got != "initializing" {
		t.Errorf("server is %s", got)
	}
}

// A client that lists gets every row once, however small the pages are.
func TestPages(t *testing.T) {
	t.Parallel()
	o := options()
	o.MaxPerPage = 3
	c := serve(t, hetzner.New(o).Handler(), "one")
	var want []string
	for i := range 8 {
		name := string(rune('a' + i))
		want = append(want, name)
		if _, _, err := c.Server.Create(t.Context(), order(name)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := c.Server.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		got = append(got, s.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, resp, err := c.Server.List(t.Context(), hcloud.ServerListOpts{ListOpts: hcloud.ListOpts{Page: 2, PerPage: 50}})
	if err != nil {
		t.Fatal(err)
	}
	if p := resp.Meta.Pagination; p.PerPage != 3 || p.PreviousPage != 1 || p.NextPage != 3 || p.LastPage != 3 || p.TotalEntries != 8 {
		t.Errorf("page 2 is %+v", p)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	o := options()
	o.RateLimit = 60
	o.Now = func() time.Time { return now }
	h := hetzner.New(o).Handler()
	one, two := serve(t, h, "one"), serve(t, h, "two")
	for range 60 {
		if _, err := one.Location.All(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, err := one.Location.All(t.Context())
	if !hcloud.IsError(err, hcloud.ErrorCodeRateLimitExceeded) || !strings.Contains(err.Error(), "limit of 60 requests per hour reached") {
		t.Fatalf("request 61: %v", err)
	}
	limit := err.(hcloud.Error).Response().Header
	if limit.Get("RateLimit-Limit") != "60" || limit.Get("RateLimit-Remaining") != "0" || limit.Get("RateLimit-Reset") != "1782867600" {
		t.Errorf("headers are %v", limit)
	}
	if _, err := two.Location.All(t.Context()); err != nil {
		t.Errorf("another project: %v", err)
	}
	now = now.Add(time.Minute)
	if _, err := one.Location.All(t.Context()); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestLabelSelectors(t *testing.T) {
	t.Parallel()
	c := serve(t, hetzner.New(options()).Handler(), "one")
	for name, labels := range map[string]map[string]string{
		"a": {"env": "production", "tier": "db"},
		"b": {"env": "staging", "prego.com/x": "1"},
		"c": {},
	} {
		o := order(name)
		o.Labels = labels
		if _, _, err := c.Server.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		selector string
		want     string // names; "!" for a refusal
	}{
		{"", "abc"},
		{"env=production", "a"},
		{"env==staging", "b"},
		{"env!=staging", "ac"},
		{"env", "ab"},
		{"!env", "c"},
		{"env in (production,staging)", "ab"},
		{"env notin (production, staging)", "c"},
		{"env=production,!tier", ""},
		{"env in (production,staging),tier=db", "a"},
		{"prego.com/x=1", "b"},
		{"env = production", "a"},
		{"!env=production", "!"},
		{"env=production,", "!"},
		{"(env)", "!"},
		{"env in production", "!"},
	}
	for _, tt := range tests {
		all, err := c.Server.AllWithOpts(t.Context(), hcloud.ServerListOpts{ListOpts: hcloud.ListOpts{LabelSelector: tt.selector}})
		got := ""
		for _, s := range all {
			got += s.Name
		}
		if hcloud.IsError(err, hcloud.ErrorCodeInvalidInput) {
			got = "!"
		} else if err != nil {
			t.Errorf("%q: %v", tt.selector, err)
		}
		if sorted := []byte(got); !slices.IsSorted(sorted) {
			slices.Sort(sorted)
			got = string(sorted)
		}
		if got != tt.want {
			t.Errorf("selector %q finds %q, want %q", tt.selector, got, tt.want)
		}
	}
}

// Servers and networks say what an inspector of the stand-in sees.
func TestServers(t *testing.T) {
	t.Parallel()
	s := hetzner.New(options())
	c := serve(t, s.Handler(), "one")
	made, _, err := c.Server.Create(t.Context(), order("app"))
	if err != nil {
		t.Fatal(err)
	}
	got := s.Servers("again")
	want := []hetzner.ServerInfo{{
		ID: made.Server.ID, Name: "app", IPv4: "203.0.113.1", IPv6: made.Server.PublicNet.IPv6.Network.String(),
		Status: "running", Labels: map[string]string{"tenant_id": "acme"}, Location: "sin", Type: "cpx22", PrivateIPs: map[int64]string{},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := s.Servers("two"); got != nil {
		t.Errorf("the other project has %v", got)
	}
	if n := s.Calls()["POST /v1/servers"]; n != 1 {
		t.Errorf("%d calls", n)
	}
}
