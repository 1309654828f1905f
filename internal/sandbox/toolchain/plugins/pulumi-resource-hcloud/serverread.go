package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// Read finds out what the server is now. An ID that no server has empties the response,
// which tells Pulumi that it was deleted.
func (s *Server) Read(ctx context.Context, req infer.ReadRequest[ServerArgs, ServerState]) (infer.ReadResponse[ServerArgs, ServerState], error) {
	id, err := number(req.ID)
	if err != nil {
		return infer.ReadResponse[ServerArgs, ServerState]{}, err
	}
	server, _, err := client(ctx).Server.GetByID(ctx, id)
	if err != nil || server == nil {
		return infer.ReadResponse[ServerArgs, ServerState]{}, err
	}
	inputs := readArgs(server, req.Inputs)
	return infer.ReadResponse[ServerArgs, ServerState]{ID: req.ID, Inputs: inputs, State: serverState(server, inputs)}, nil
}

// readArgs is the program's inputs, as far as they are still true. What the API does not
// tell, such as the SSH keys, is taken on trust.
func readArgs(server *hcloud.Server, in ServerArgs) ServerArgs {
	imported := in.ServerType == ""
	in.Name = &server.Name
	in.ServerType = server.ServerType.Name
	in.Labels = keptLabels(in.Labels, server.Labels, imported)
	if imported || in.Location != nil {
		in.Location = &server.Location.Name
	}
	if i := server.Image; i != nil && (imported || in.Image != nil && *in.Image != i.Name && *in.Image != text(i.ID)) {
		in.Image = &i.Name
	}
	have := firewallIDs(server)
	if (imported || in.FirewallIds != nil) && !value(in.IgnoreRemoteFirewallIds) && !sameIDs(in.FirewallIds, have) {
		in.FirewallIds = have
	}
	if g := server.PlacementGroup; imported || in.PlacementGroupId != nil {
		in.PlacementGroupId = nil
		if g != nil {
			in.PlacementGroupId = hcloud.Ptr(int(g.ID))
		}
	}
	if imported {
		for _, n := range server.PrivateNet {
			in.Networks = append(in.Networks, ServerNetwork{NetworkId: hcloud.Ptr(int(n.Network.ID)), Ip: hcloud.Ptr(n.IP.String())})
		}
	}
	if imported && server.Protection.Delete || in.DeleteProtection != nil {
		in.DeleteProtection = &server.Protection.Delete
	}
	if imported && server.Protection.Rebuild || in.RebuildProtection != nil {
		in.RebuildProtection = &server.Protection.Rebuild
	}
	return in
}

func readServer(ctx context.Context, c *hcloud.Client, id int64, in ServerArgs) (ServerState, error) {
	server, _, err := c.Server.GetByID(ctx, id)
	if err != nil {
		return ServerState{}, err
	}
	if server == nil {
		return ServerState{}, fmt.Errorf("server %d has gone", id)
	}
	return serverState(server, in), nil
}

// serverState is what server says, and of in what it does not say.
func serverState(server *hcloud.Server, in ServerArgs) ServerState {
	in.Name = &server.Name
	in.Location = &server.Location.Name
	if in.Image == nil && server.Image != nil {
		in.Image = &server.Image.Name
	}
	if in.FirewallIds == nil {
		in.FirewallIds = firewallIDs(server)
	}
	state := ServerState{ServerArgs: in, Status: string(server.Status), PrimaryDiskSize: server.PrimaryDiskSize}
	if ip := server.PublicNet.IPv4; !ip.IsUnspecified() {
		state.Ipv4Address = ip.IP.String()
	}
	if n := server.PublicNet.IPv6; !n.IsUnspecified() {
		first := slices.Clone(n.IP.To16())
		first[15]++
		state.Ipv6Address, state.Ipv6Network = first.String(), n.Network.String()
	}
	return state
}

func firewallIDs(server *hcloud.Server) []int {
	var ids []int
	for _, f := range server.PublicNet.Firewalls {
		ids = append(ids, int(f.Firewall.ID))
	}
	return ids
}

func sameIDs(a, b []int) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
