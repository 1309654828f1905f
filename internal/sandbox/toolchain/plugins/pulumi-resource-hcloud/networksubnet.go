package main

import (
	"context"
	"fmt"
	"net"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// A NetworkSubnet is hcloud:index/networkSubnet:NetworkSubnet. Its ID is the network's and
// its range: "4711-10.0.1.0/24". Nothing of it can be changed in place.
type NetworkSubnet struct{}

// NetworkSubnetArgs are a subnet's inputs.
type NetworkSubnetArgs struct {
	NetworkId   int    `pulumi:"networkId" provider:"replaceOnChanges"`
	IpRange     string `pulumi:"ipRange" provider:"replaceOnChanges"`
	NetworkZone string `pulumi:"networkZone" provider:"replaceOnChanges"`
	Type        string `pulumi:"type" provider:"replaceOnChanges"` // "cloud"
	VswitchId   *int   `pulumi:"vswitchId,optional" provider:"replaceOnChanges"`
}

// NetworkSubnetState is what is known of a subnet.
type NetworkSubnetState struct {
	NetworkSubnetArgs
	Gateway string `pulumi:"gateway"`
}

// Annotate gives the type the vendor's token.
func (s *NetworkSubnet) Annotate(a infer.Annotator) {
	a.SetToken("index/networkSubnet", "NetworkSubnet")
}

// Check reads the network's ID.
func (s *NetworkSubnet) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[NetworkSubnetArgs], error) {
	args, failures, err := infer.DefaultCheck[NetworkSubnetArgs](ctx, numbers(req.NewInputs))
	return infer.CheckResponse[NetworkSubnetArgs]{Inputs: args, Failures: failures}, err
}

// Create adds the subnet to its network.
func (s *NetworkSubnet) Create(ctx context.Context, req infer.CreateRequest[NetworkSubnetArgs]) (infer.CreateResponse[NetworkSubnetState], error) {
	in := req.Inputs
	resp := infer.CreateResponse[NetworkSubnetState]{Output: NetworkSubnetState{NetworkSubnetArgs: in}}
	if req.DryRun {
		return resp, nil
	}
	_, ipRange, err := net.ParseCIDR(in.IpRange)
	if err != nil {
		return resp, fmt.Errorf("ipRange: %w", err)
	}
	c := client(ctx)
	network := &hcloud.Network{ID: int64(in.NetworkId)}
	action, _, err := c.Network.AddSubnet(ctx, network, hcloud.NetworkAddSubnetOpts{Subnet: hcloud.NetworkSubnet{
		Type: hcloud.NetworkSubnetType(in.Type), IPRange: ipRange, NetworkZone: hcloud.NetworkZone(in.NetworkZone), VSwitchID: int64(value(in.VswitchId)),
	}})
	if err != nil {
		return resp, err
	}
	resp.ID = fmt.Sprintf("%d-%s", in.NetworkId, ipRange)
	err = c.Action.WaitFor(ctx, action)
	if err == nil {
		var have *hcloud.NetworkSubnet
		if have, err = findSubnet(ctx, c, network.ID, ipRange); have != nil {
			resp.Output.Gateway = have.Gateway.String()
		}
	}
	if err != nil {
		return resp, infer.ResourceInitFailedError{Reasons: []string{err.Error()}}
	}
	return resp, nil
}

// findSubnet returns the subnet of that range; nil if the network has none, or is no more.
func findSubnet(ctx context.Context, c *hcloud.Client, network int64, ipRange *net.IPNet) (*hcloud.NetworkSubnet, error) {
	n, _, err := c.Network.GetByID(ctx, network)
	if err != nil || n == nil {
		return nil, err
	}
	for _, s := range n.Subnets {
		if s.IPRange != nil && s.IPRange.String() == ipRange.String() {
			return &s, nil
		}
	}
	return nil, nil
}

// Read finds out what the subnet is now.
func (s *NetworkSubnet) Read(ctx context.Context, req infer.ReadRequest[NetworkSubnetArgs, NetworkSubnetState]) (infer.ReadResponse[NetworkSubnetArgs, NetworkSubnetState], error) {
	network, ipRange, err := subnetOf(req.ID)
	if err != nil {
		return infer.ReadResponse[NetworkSubnetArgs, NetworkSubnetState]{}, err
	}
	have, err := findSubnet(ctx, client(ctx), network, ipRange)
	if err != nil || have == nil {
		return infer.ReadResponse[NetworkSubnetArgs, NetworkSubnetState]{}, err
	}
	in := NetworkSubnetArgs{
		NetworkId: int(network), IpRange: ipRange.String(), NetworkZone: string(have.NetworkZone), Type: string(have.Type), VswitchId: req.Inputs.VswitchId,
	}
	state := NetworkSubnetState{NetworkSubnetArgs: in, Gateway: have.Gateway.String()}
	return infer.ReadResponse[NetworkSubnetArgs, NetworkSubnetState]{ID: req.ID, Inputs: in, State: state}, nil
}

// Delete takes the subnet out of its network.
func (s *NetworkSubnet) Delete(ctx context.Context, req infer.DeleteRequest[NetworkSubnetState]) (infer.DeleteResponse, error) {
	network, ipRange, err := subnetOf(req.ID)
	if err != nil {
		return infer.DeleteResponse{}, err
	}
	c := client(ctx)
	action, _, err := c.Network.DeleteSubnet(ctx, &hcloud.Network{ID: network}, hcloud.NetworkDeleteSubnetOpts{Subnet: hcloud.NetworkSubnet{IPRange: ipRange}})
	if err == nil {
		err = c.Action.WaitFor(ctx, action)
	}
	if gone(err) {
		err = nil
	}
	return infer.DeleteResponse{}, err
}
