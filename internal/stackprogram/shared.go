package stackprogram

import (
	"fmt"

	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// groupSize is how many servers are meant for one placement group. Hetzner takes 10;
// the rest is for jobs that ask for a server at the same moment, and cannot know of
// each other when they count.
// https://docs.hetzner.com/cloud/placement-groups/overview
const groupSize = 6

// shared declares one server for each node. nodes begins with those that exist, so a new
// server's place in it is how many there are.
func (b builder) shared(nodes []string) error {
	name := "prego-" + string(b.region)
	firewall, err := b.firewall("firewall", name, nil, "80", "443")
	if err != nil {
		return err
	}
	var groups []*hcloud.PlacementGroup
	for i := 0; i*groupSize < len(nodes); i++ {
		g, err := b.spread(fmt.Sprintf("spread-%d", i), fmt.Sprintf("%s-spread-%d", name, i), nil)
		if err != nil {
			return err
		}
		groups = append(groups, g)
	}
	own := provision.Job{ID: b.job}.NodeKey()
	exported := pulumi.Map{}
	for i, key := range nodes {
		labels := map[string]string{"role": string(provision.App), "node_key": key}
		if key == own { // the others are there already, and other jobs'
			for name, value := range b.jobLabels() {
				labels[name] = value
			}
		}
		server, err := b.server("node-"+key, name+"-"+key, b.place.Type, labels, hcloud.ServerArgs{
			FirewallIds:      pulumi.IntArray{number(firewall.ID())},
			PlacementGroupId: number(groups[i/groupSize].ID()),
		})
		if err != nil {
			return err
		}
		exported[key] = pulumi.StringMap{"server_id": server.ID().ToStringOutput(), "server_ip": server.Ipv4Address}
	}
	b.ctx.Export("nodes", exported)
	return nil
}
