package stackprogram

import (
	"cmp"
	"strings"

	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// roles are the servers of a dedicated stack, in the order of their private addresses.
var roles = []provision.Role{provision.App, provision.DB, provision.Redis}

// dedicated declares a tenant's own servers. They reach each other in the private
// network, which Hetzner's firewalls do not filter; from outside, only the app serves.
func (b builder) dedicated() error {
	name := tenantName(b.tenant)
	labels := b.jobLabels()
	network, err := hcloud.NewNetwork(b.ctx, "network", &hcloud.NetworkArgs{
		Name: pulumi.String(name), IpRange: pulumi.String("10.0.0.0/16"), Labels: b.labels(labels),
	}, pulumi.Protect(true), pulumi.IgnoreChanges([]string{"labels"}))
	if err != nil {
		return err
	}
	subnet, err := hcloud.NewNetworkSubnet(b.ctx, "subnet", &hcloud.NetworkSubnetArgs{
		NetworkId: number(network.ID()), Type: pulumi.String("cloud"),
		NetworkZone: pulumi.String(cmp.Or(zones[b.place.Location], zones[sites[b.region].locations[0]])), IpRange: pulumi.String("10.0.1.0/24"),
	}, pulumi.IgnoreChanges([]string{"networkZone"})) // servers that are there keep it where it is
	if err != nil {
		return err
	}
	front, err := b.firewall("firewall", name, labels, "80", "443")
	if err != nil {
		return err
	}
	back, err := b.firewall("firewall-inner", name+"-inner", labels)
	if err != nil {
		return err
	}
	group, err := b.spread("spread", name, labels)
	if err != nil {
		return err
	}
	firewalls := map[provision.Role]*hcloud.Firewall{provision.App: front, provision.DB: back, provision.Redis: back}
	types := map[provision.Role]string{
		provision.App: b.place.Type, provision.DB: cmp.Or(b.place.DBType, b.place.Type), provision.Redis: cmp.Or(b.place.RedisType, b.place.Type),
	}
	for _, role := range roles {
		labels["role"] = string(role)
		server, err := b.server(string(role), name+"-"+string(role), types[role], labels, hcloud.ServerArgs{
			FirewallIds:      pulumi.IntArray{number(firewalls[role].ID())},
			PlacementGroupId: number(group.ID()),
			Networks:         hcloud.ServerNetworkTypeArray{hcloud.ServerNetworkTypeArgs{NetworkId: number(network.ID())}},
		}, pulumi.DependsOn([]pulumi.Resource{subnet}))
		if err != nil {
			return err
		}
		output := string(role) + "_server"
		if role == provision.App {
			output = "server"
		}
		b.ctx.Export(output+"_id", server.ID().ToStringOutput())
		b.ctx.Export(output+"_ip", server.Ipv4Address)
	}
	b.ctx.Export("tenant_id", pulumi.String(b.tenant))
	return nil
}

// tenantName returns the name that a tenant's resources have at Hetzner, short enough
// that a server's is a host name. What the stack's name keeps apart, it keeps apart too:
// where that is long it ends in a hash, and only the readable part is cut.
func tenantName(tenant string) string {
	const longest = 63 - len("prego-") - len("-redis")
	safe := strings.TrimPrefix(provision.DedicatedStack(tenant), "dedicated-")
	if len(safe) > longest {
		const hash = 1 + 16 // a hyphen and 80 bits
		end := safe[len(safe)-hash:]
		safe = strings.TrimRight(safe[:longest-hash], "-") + end
	}
	return "prego-" + safe
}
