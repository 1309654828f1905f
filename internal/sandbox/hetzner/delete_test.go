package hetzner_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
)

// What is busy, protected or in use cannot be deleted.
func TestDeleteRefusals(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	o := options()
	o.ActionTime = 40 * time.Second
	o.Now = func() time.Time { return now }
	s := hetzner.New(o)
	c := serve(t, s.Handler(), "one")
	ctx := t.Context()
	wall, _, err := c.Firewall.Create(ctx, hcloud.FirewallCreateOpts{Name: "wall"})
	if err != nil {
		t.Fatal(err)
	}
	private, _, err := c.Network.Create(ctx, hcloud.NetworkCreateOpts{Name: "net", IPRange: network(t, "10.1.0.0/16"), Subnets: []hcloud.NetworkSubnet{
		{Type: hcloud.NetworkSubnetTypeCloud, IPRange: network(t, "10.1.1.0/24"), NetworkZone: hcloud.NetworkZoneAPSouthEast},
	}})
	if err != nil {
		t.Fatal(err)
	}
	opts := order("app")
	opts.Firewalls = []*hcloud.ServerCreateFirewall{{Firewall: *wall.Firewall}}
	opts.Networks = []*hcloud.Network{private}
	made, _, err := c.Server.Create(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	deleteServer := func() error {
		_, _, err := c.Server.DeleteWithResult(ctx, made.Server)
		return err
	}
	protect := func(on bool) {
		t.Helper()
		_, _, err := c.Server.ChangeProtection(ctx, made.Server, hcloud.ServerChangeProtectionOpts{Delete: &on, Rebuild: &on})
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
	}

	if err := deleteServer(); !hcloud.IsError(err, hcloud.ErrorCodeLocked) {
		t.Errorf("server that is being made: %v", err)
	}
	now = now.Add(time.Minute)
	protect(true)
	if err := deleteServer(); !hcloud.IsError(err, hcloud.ErrorCodeProtected) {
		t.Errorf("protected server: %v", err)
	}
	if _, err := c.Firewall.Delete(ctx, wall.Firewall); !hcloud.IsError(err, "resource_in_use") {
		t.Errorf("firewall in use: %v", err)
	}
	_, _, err = c.Network.DeleteSubnet(ctx, private, hcloud.NetworkDeleteSubnetOpts{Subnet: private.Subnets[0]})
	if !hcloud.IsError(err, hcloud.ErrorCodeServiceError) {
		t.Errorf("subnet in use: %v", err)
	}
	protect(false)
	if err := deleteServer(); err != nil {
		t.Errorf("server that may go: %v", err)
	}
	if _, err := c.Firewall.Delete(ctx, wall.Firewall); err != nil {
		t.Errorf("firewall that may go: %v", err)
	}
	if _, _, err := c.Network.DeleteSubnet(ctx, private, hcloud.NetworkDeleteSubnetOpts{Subnet: private.Subnets[0]}); err != nil {
		t.Errorf("subnet that may go: %v", err)
	}
	_, _, err = c.Network.AddSubnet(ctx, private, hcloud.NetworkAddSubnetOpts{Subnet: private.Subnets[0]})
	if !hcloud.IsError(err, hcloud.ErrorCodeConflict) {
		t.Errorf("network that is being changed: %v", err)
	}
}

// Every server has addresses of its own, from the networks that are set aside for
// documentation; when there are no more, there are no more servers.
func TestAddresses(t *testing.T) {
	t.Parallel()
	o := options()
	o.RateLimit = 10_000
	s := hetzner.New(o)
	c := serve(t, s.Handler(), "one")
	var first *hcloud.Server
	seen := map[string]bool{}
	for i := range 3 * 254 {
		made, _, err := c.Server.Create(t.Context(), order("s"+strings.Repeat("x", i%60)+string(rune('a'+i/60))))
		if err != nil {
			t.Fatalf("server %d: %v", i+1, err)
		}
		if i == 0 {
			first = made.Server
		}
		for _, ip := range []string{made.Server.PublicNet.IPv4.IP.String(), made.Server.PublicNet.IPv6.Network.String()} {
			if seen[ip] {
				t.Fatalf("address %s was given out twice", ip)
			}
			seen[ip] = true
		}
		if ip := made.Server.PublicNet.IPv4.IP.To4(); ip[3] == 0 || ip[3] == 255 {
			t.Errorf("%s is no host's address", ip)
		}
	}
	if _, _, err := c.Server.Create(t.Context(), order("last")); !hcloud.IsError(err, hcloud.ErrorCodeResourceUnavailable) {
		t.Errorf("one too many: %v", err)
	}
	if _, _, err := c.Server.DeleteWithResult(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	made, _, err := c.Server.Create(t.Context(), order("last"))
	if err != nil || !made.Server.PublicNet.IPv4.IP.Equal(first.PublicNet.IPv4.IP) {
		t.Errorf("after one has gone: %v", err)
	}
}
