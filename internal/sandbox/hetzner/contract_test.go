package hetzner_test

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	"github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
)

// The vendor's client goes through the life of a tenant's servers, and neither it nor the
// stand-in breaks the vendor's contract.
func TestContract(t *testing.T) {
	s := hetzner.New(options())
	c := serve(t, contract.Handler(t, "hcloud.json", "/v1", s.Handler()), "one")
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	key, _, err := c.SSHKey.Create(ctx, hcloud.SSHKeyCreateOpts{Name: "ops", PublicKey: publicKey})
	must(err)
	_, _, err = c.SSHKey.Update(ctx, key, hcloud.SSHKeyUpdateOpts{Labels: map[string]string{"a": "b"}})
	must(err)
	private, _, err := c.Network.Create(ctx, hcloud.NetworkCreateOpts{Name: "net", IPRange: network(t, "10.1.0.0/16")})
	must(err)
	action, _, err := c.Network.AddSubnet(ctx, private, hcloud.NetworkAddSubnetOpts{Subnet: hcloud.NetworkSubnet{
		Type: hcloud.NetworkSubnetTypeCloud, IPRange: network(t, "10.1.1.0/24"), NetworkZone: hcloud.NetworkZoneAPSouthEast,
	}})
	must(err)
	must(c.Action.WaitFor(ctx, action))
	rule := hcloud.FirewallRule{
		Direction: hcloud.FirewallRuleDirectionIn, Protocol: hcloud.FirewallRuleProtocolTCP, Port: hcloud.Ptr("443"),
		SourceIPs: []net.IPNet{*network(t, "0.0.0.0/0"), *network(t, "::/0")},
	}
	wall, _, err := c.Firewall.Create(ctx, hcloud.FirewallCreateOpts{Name: "wall", Rules: []hcloud.FirewallRule{rule}})
	must(err)
	group, _, err := c.PlacementGroup.Create(ctx, hcloud.PlacementGroupCreateOpts{Name: "spread", Type: hcloud.PlacementGroupTypeSpread})
	must(err)

	o := order("app")
	o.SSHKeys = []*hcloud.SSHKey{key}
	o.Networks = []*hcloud.Network{private}
	o.Firewalls = []*hcloud.ServerCreateFirewall{{Firewall: *wall.Firewall}}
	o.PlacementGroup = group.PlacementGroup
	made, _, err := c.Server.Create(ctx, o)
	must(err)
	must(c.Action.WaitFor(ctx, append(made.NextActions, made.Action)...))
	bare, _, err := c.Server.Create(ctx, hcloud.ServerCreateOpts{
		Name: "bare", ServerType: o.ServerType, Image: o.Image, Location: o.Location,
		PublicNet: &hcloud.ServerCreatePublicNet{EnableIPv6: true},
	})
	must(err)
	must(c.Action.WaitFor(ctx, append(bare.NextActions, bare.Action)...))
	_, _, err = c.Server.Update(ctx, made.Server, hcloud.ServerUpdateOpts{Labels: map[string]string{"tenant_id": "acme", "role": "app"}})
	must(err)

	for _, change := range []func() (*hcloud.Action, *hcloud.Response, error){
		func() (*hcloud.Action, *hcloud.Response, error) {
			return c.Server.ChangeProtection(ctx, made.Server, hcloud.ServerChangeProtectionOpts{Delete: hcloud.Ptr(true), Rebuild: hcloud.Ptr(true)})
		},
		func() (*hcloud.Action, *hcloud.Response, error) {
			return c.Server.AttachToNetwork(ctx, bare.Server, hcloud.ServerAttachToNetworkOpts{Network: private, IPRange: network(t, "10.1.1.0/24")})
		},
		func() (*hcloud.Action, *hcloud.Response, error) { return c.Server.Poweroff(ctx, bare.Server) },
		func() (*hcloud.Action, *hcloud.Response, error) {
			return c.Server.ChangeType(ctx, bare.Server, hcloud.ServerChangeTypeOpts{ServerType: &hcloud.ServerType{Name: "cpx32"}})
		},
		func() (*hcloud.Action, *hcloud.Response, error) { return c.Server.Poweron(ctx, bare.Server) },
	} {
		action, _, err := change()
		must(err)
		must(c.Action.WaitFor(ctx, action))
	}

	got, _, err := c.Server.GetByName(ctx, "app")
	must(err)
	if got == nil || got.Status != hcloud.ServerStatusRunning || got.Location.Name != "sin" || got.PlacementGroup.ID != group.PlacementGroup.ID ||
		len(got.PrivateNet) != 1 || got.PrivateNet[0].IP.String() != "10.1.1.1" || got.Labels["role"] != "app" || !got.Protection.Delete {
		t.Errorf("server is %+v", got)
	}
	if got, _, err := c.Server.GetByID(ctx, bare.Server.ID); err != nil || !got.PublicNet.IPv4.IsUnspecified() || got.PublicNet.IPv6.IsUnspecified() || got.ServerType.Name != "cpx32" {
		t.Errorf("bare server is %+v, %v", got, err)
	}
	_, err = c.Server.AllWithOpts(ctx, hcloud.ServerListOpts{ListOpts: hcloud.ListOpts{LabelSelector: "tenant_id=acme"}})
	must(err)
	_, _, err = c.Server.GetByID(ctx, 1)
	must(err)
	if _, _, err := c.Server.Create(ctx, o); !hcloud.IsError(err, hcloud.ErrorCodeUniquenessError) {
		t.Errorf("second server of the same name: %v", err)
	}
	actions, _, err := c.Firewall.SetRules(ctx, wall.Firewall, hcloud.FirewallSetRulesOpts{Rules: []hcloud.FirewallRule{rule}})
	must(err)
	must(c.Action.WaitFor(ctx, actions...))
	for _, look := range []func() error{
		func() error { _, err := c.Location.All(ctx); return err },
		func() error { _, err := c.ServerType.All(ctx); return err },
		func() error { _, err := c.Image.All(ctx); return err },
		func() error { _, err := c.Network.All(ctx); return err },
		func() error { _, err := c.Firewall.All(ctx); return err },
		func() error { _, err := c.PlacementGroup.All(ctx); return err },
		func() error { _, err := c.SSHKey.All(ctx); return err },
		func() error { _, _, err := c.SSHKey.GetByFingerprint(ctx, key.Fingerprint); return err },
		func() error {
			_, _, err := c.Image.GetByNameAndArchitecture(ctx, "debian-12", hcloud.ArchitectureARM)
			return err
		},
	} {
		must(look())
	}

	action, _, err = c.Server.ChangeProtection(ctx, made.Server, hcloud.ServerChangeProtectionOpts{Delete: hcloud.Ptr(false), Rebuild: hcloud.Ptr(false)})
	must(err)
	must(c.Action.WaitFor(ctx, action))
	for _, server := range []*hcloud.Server{made.Server, bare.Server} {
		result, _, err := c.Server.DeleteWithResult(ctx, server)
		must(err)
		must(c.Action.WaitFor(ctx, result.Action))
	}
	for _, drop := range []func() error{
		func() error { _, err := c.Firewall.Delete(ctx, wall.Firewall); return err },
		func() error { _, err := c.Network.Delete(ctx, private); return err },
		func() error { _, err := c.PlacementGroup.Delete(ctx, group.PlacementGroup); return err },
		func() error { _, err := c.SSHKey.Delete(ctx, key); return err },
	} {
		must(drop())
	}
	want := map[string][]string{"servers": {}, "networks": {}, "firewalls": {}, "placement_groups": {}, "ssh_keys": {}}
	if diff := cmp.Diff(want, s.Names("one")); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
}
