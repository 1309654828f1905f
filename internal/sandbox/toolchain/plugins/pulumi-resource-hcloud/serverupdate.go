package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// Update changes the server in place.
func (s *Server) Update(ctx context.Context, req infer.UpdateRequest[ServerArgs, ServerState]) (infer.UpdateResponse[ServerState], error) {
	resp := infer.UpdateResponse[ServerState]{Output: req.State}
	resp.Output.ServerArgs = req.Inputs
	if req.DryRun {
		return resp, nil
	}
	id, err := number(req.ID)
	if err != nil {
		return resp, err
	}
	c := client(ctx)
	server, _, err := c.Server.GetByID(ctx, id)
	switch {
	case err != nil:
		return resp, err
	case server == nil:
		return resp, fmt.Errorf("server %d has gone", id)
	}
	for _, step := range []func(context.Context, *hcloud.Client, *hcloud.Server, ServerArgs, ServerArgs) error{
		renameAndLabel, changeFirewalls, changeNetworks, changeGroup, changeType, changeProtection,
	} {
		if err := step(ctx, c, server, req.State.ServerArgs, req.Inputs); err != nil {
			return resp, err
		}
	}
	resp.Output, err = readServer(ctx, c, id, req.Inputs)
	return resp, err
}

func renameAndLabel(ctx context.Context, c *hcloud.Client, server *hcloud.Server, old, in ServerArgs) error {
	if maps.Equal(old.Labels, in.Labels) && value(old.Name) == value(in.Name) {
		return nil
	}
	_, _, err := c.Server.Update(ctx, server, hcloud.ServerUpdateOpts{Name: value(in.Name), Labels: labelsOrNone(in.Labels)})
	return err
}

func changeFirewalls(ctx context.Context, c *hcloud.Client, server *hcloud.Server, old, in ServerArgs) error {
	if in.FirewallIds == nil || sameIDs(old.FirewallIds, in.FirewallIds) {
		return nil
	}
	resource := []hcloud.FirewallResource{{Type: hcloud.FirewallResourceTypeServer, Server: &hcloud.FirewallResourceServer{ID: server.ID}}}
	var actions []*hcloud.Action
	have := firewallIDs(server)
	for _, id := range in.FirewallIds {
		if !slices.Contains(have, id) {
			started, _, err := c.Firewall.ApplyResources(ctx, &hcloud.Firewall{ID: int64(id)}, resource)
			if err != nil {
				return err
			}
			actions = append(actions, started...)
		}
	}
	for _, id := range have {
		if !slices.Contains(in.FirewallIds, id) {
			started, _, err := c.Firewall.RemoveResources(ctx, &hcloud.Firewall{ID: int64(id)}, resource)
			if err != nil {
				return err
			}
			actions = append(actions, started...)
		}
	}
	return c.Action.WaitFor(ctx, actions...)
}

// changeNetworks detaches the server from the networks that the inputs no longer have, and
// attaches it to the new ones. Other networks, which the program never named, are left alone.
func changeNetworks(ctx context.Context, c *hcloud.Client, server *hcloud.Server, old, in ServerArgs) error {
	for _, n := range old.Networks {
		id, _, err := n.network()
		if err != nil {
			return err
		}
		same := func(o ServerNetwork) bool { return n.equal(o) }
		if slices.ContainsFunc(in.Networks, same) || server.PrivateNetFor(&hcloud.Network{ID: id}) == nil {
			continue
		}
		action, _, err := c.Server.DetachFromNetwork(ctx, server, hcloud.ServerDetachFromNetworkOpts{Network: &hcloud.Network{ID: id}})
		if err != nil {
			return err
		}
		if err := c.Action.WaitFor(ctx, action); err != nil {
			return err
		}
	}
	for _, n := range in.Networks {
		id, _, err := n.network()
		if err != nil {
			return err
		}
		kept := slices.ContainsFunc(old.Networks, func(o ServerNetwork) bool { return n.equal(o) })
		if kept && server.PrivateNetFor(&hcloud.Network{ID: id}) != nil {
			continue
		}
		if err := attach(ctx, c, server, n); err != nil {
			return err
		}
	}
	return nil
}

func changeGroup(ctx context.Context, c *hcloud.Client, server *hcloud.Server, old, in ServerArgs) error {
	if value(old.PlacementGroupId) == value(in.PlacementGroupId) {
		return nil
	}
	var action *hcloud.Action
	var err error
	if server.PlacementGroup != nil {
		if action, _, err = c.Server.RemoveFromPlacementGroup(ctx, server); err != nil {
			return err
		}
		if err := c.Action.WaitFor(ctx, action); err != nil {
			return err
		}
	}
	if in.PlacementGroupId == nil {
		return nil
	}
	action, _, err = c.Server.AddToPlacementGroup(ctx, server, &hcloud.PlacementGroup{ID: int64(*in.PlacementGroupId)})
	if err != nil {
		return err
	}
	return c.Action.WaitFor(ctx, action)
}

// changeType gives the server another size, which it has to be switched off for.
func changeType(ctx context.Context, c *hcloud.Client, server *hcloud.Server, old, in ServerArgs) error {
	if !slices.EqualFunc(old.PublicNets, in.PublicNets, ServerPublicNet.equal) {
		return errors.New("this plugin cannot change publicNets of a server that exists")
	}
	if server.ServerType.Name == in.ServerType {
		return nil
	}
	if server.Status == hcloud.ServerStatusRunning {
		off, _, err := c.Server.Poweroff(ctx, server)
		if err != nil {
			return err
		}
		if err := c.Action.WaitFor(ctx, off); err != nil {
			return err
		}
	}
	action, _, err := c.Server.ChangeType(ctx, server, hcloud.ServerChangeTypeOpts{
		ServerType: &hcloud.ServerType{Name: in.ServerType}, UpgradeDisk: !value(in.KeepDisk),
	})
	if err == nil {
		err = c.Action.WaitFor(ctx, action)
	}
	// Whatever became of its type, a server that ran shall run.
	if server.Status == hcloud.ServerStatusRunning {
		on, _, onErr := c.Server.Poweron(ctx, server)
		if onErr == nil {
			onErr = c.Action.WaitFor(ctx, on)
		}
		err = errors.Join(err, onErr)
	}
	return err
}

func changeProtection(ctx context.Context, c *hcloud.Client, server *hcloud.Server, old, in ServerArgs) error {
	if value(old.DeleteProtection) == value(in.DeleteProtection) && value(old.RebuildProtection) == value(in.RebuildProtection) {
		return nil
	}
	return protect(ctx, c, server, in)
}

func protect(ctx context.Context, c *hcloud.Client, server *hcloud.Server, in ServerArgs) error {
	action, _, err := c.Server.ChangeProtection(ctx, server, hcloud.ServerChangeProtectionOpts{
		Delete: hcloud.Ptr(value(in.DeleteProtection)), Rebuild: hcloud.Ptr(value(in.RebuildProtection)),
	})
	if err != nil {
		return err
	}
	return c.Action.WaitFor(ctx, action)
}

// attach puts the server into a network, with the address or the subnet that n asks for.
func attach(ctx context.Context, c *hcloud.Client, server *hcloud.Server, n ServerNetwork) error {
	id, subnet, err := n.network()
	if err != nil {
		return err
	}
	opts := hcloud.ServerAttachToNetworkOpts{Network: &hcloud.Network{ID: id}, IPRange: subnet}
	if n.Ip != nil {
		opts.IP = net.ParseIP(*n.Ip)
		opts.IPRange = nil
	}
	for _, ip := range n.AliasIps {
		opts.AliasIPs = append(opts.AliasIPs, net.ParseIP(ip))
	}
	action, _, err := c.Server.AttachToNetwork(ctx, server, opts)
	if err != nil {
		return err
	}
	return c.Action.WaitFor(ctx, action)
}

// plain reports whether n asks for nothing but the network, so that a server can be made in it.
func (n ServerNetwork) plain() bool {
	return n.NetworkId != nil && n.SubnetId == nil && n.Ip == nil && len(n.AliasIps) == 0
}

// network returns the ID of the network, and the range of the subnet where n names one.
func (n ServerNetwork) network() (int64, *net.IPNet, error) {
	if n.SubnetId != nil {
		return subnetOf(*n.SubnetId)
	}
	if n.NetworkId == nil {
		return 0, nil, errors.New("networks: one of networkId and subnetId is needed")
	}
	return int64(*n.NetworkId), nil, nil
}

func (n ServerNetwork) equal(o ServerNetwork) bool {
	return value(n.NetworkId) == value(o.NetworkId) && value(n.SubnetId) == value(o.SubnetId) &&
		value(n.Ip) == value(o.Ip) && slices.Equal(n.AliasIps, o.AliasIps)
}

func (n ServerPublicNet) equal(o ServerPublicNet) bool {
	on := func(p *bool) bool { return p == nil || *p }
	return value(n.Ipv4) == value(o.Ipv4) && value(n.Ipv6) == value(o.Ipv6) &&
		on(n.Ipv4Enabled) == on(o.Ipv4Enabled) && on(n.Ipv6Enabled) == on(o.Ipv6Enabled)
}

// subnetOf takes the ID of a subnet apart: "4711-10.0.1.0/24".
func subnetOf(id string) (network int64, ipRange *net.IPNet, err error) {
	before, after, _ := strings.Cut(id, "-")
	if network, err = number(before); err == nil {
		_, ipRange, err = net.ParseCIDR(after)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("%q is not the ID of a subnet, as in 4711-10.0.1.0/24", id)
	}
	return network, ipRange, nil
}
