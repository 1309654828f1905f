package main

import (
	"context"
	"fmt"
	"net"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// A Network is hcloud:index/network:Network.
type Network struct{}

// NetworkArgs are a network's inputs.
type NetworkArgs struct {
	Name                  *string           `pulumi:"name,optional"`
	IpRange               string            `pulumi:"ipRange" provider:"replaceOnChanges"`
	Labels                map[string]string `pulumi:"labels,optional"`
	DeleteProtection      *bool             `pulumi:"deleteProtection,optional"`
	ExposeRoutesToVswitch *bool             `pulumi:"exposeRoutesToVswitch,optional"`
}

// NetworkState is what is known of a network.
type NetworkState struct{ NetworkArgs }

// Annotate gives the type the vendor's token.
func (n *Network) Annotate(a infer.Annotator) { a.SetToken("index/network", "Network") }

// Check gives the network a name where the program does not.
func (n *Network) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[NetworkArgs], error) {
	return checkNamed[NetworkArgs](ctx, req)
}

// Create makes the network.
func (n *Network) Create(ctx context.Context, req infer.CreateRequest[NetworkArgs]) (infer.CreateResponse[NetworkState], error) {
	in := req.Inputs
	resp := infer.CreateResponse[NetworkState]{Output: NetworkState{in}}
	if req.DryRun {
		return resp, nil
	}
	_, ipRange, err := net.ParseCIDR(in.IpRange)
	if err != nil {
		return resp, fmt.Errorf("ipRange: %w", err)
	}
	c := client(ctx)
	made, _, err := c.Network.Create(ctx, hcloud.NetworkCreateOpts{
		Name: value(in.Name), IPRange: ipRange, Labels: in.Labels, ExposeRoutesToVSwitch: value(in.ExposeRoutesToVswitch),
	})
	if err != nil {
		return resp, err
	}
	resp.ID = text(made.ID)
	if value(in.DeleteProtection) {
		if err := protectNetwork(ctx, c, made, true); err != nil {
			return resp, infer.ResourceInitFailedError{Reasons: []string{err.Error()}}
		}
	}
	return resp, nil
}

func protectNetwork(ctx context.Context, c *hcloud.Client, n *hcloud.Network, on bool) error {
	action, _, err := c.Network.ChangeProtection(ctx, n, hcloud.NetworkChangeProtectionOpts{Delete: &on})
	if err != nil {
		return err
	}
	return c.Action.WaitFor(ctx, action)
}

// Read finds out what the network is now.
func (n *Network) Read(ctx context.Context, req infer.ReadRequest[NetworkArgs, NetworkState]) (infer.ReadResponse[NetworkArgs, NetworkState], error) {
	id, err := number(req.ID)
	if err != nil {
		return infer.ReadResponse[NetworkArgs, NetworkState]{}, err
	}
	have, _, err := client(ctx).Network.GetByID(ctx, id)
	if err != nil || have == nil {
		return infer.ReadResponse[NetworkArgs, NetworkState]{}, err
	}
	in := req.Inputs
	in.Labels = keptLabels(in.Labels, have.Labels, in.IpRange == "")
	in.Name, in.IpRange = &have.Name, have.IPRange.String()
	if in.DeleteProtection != nil || have.Protection.Delete {
		in.DeleteProtection = &have.Protection.Delete
	}
	return infer.ReadResponse[NetworkArgs, NetworkState]{ID: req.ID, Inputs: in, State: NetworkState{in}}, nil
}

// Update changes the network in place.
func (n *Network) Update(ctx context.Context, req infer.UpdateRequest[NetworkArgs, NetworkState]) (infer.UpdateResponse[NetworkState], error) {
	resp := infer.UpdateResponse[NetworkState]{Output: NetworkState{req.Inputs}}
	id, err := number(req.ID)
	if err != nil || req.DryRun {
		return resp, err
	}
	c := client(ctx)
	have, _, err := c.Network.Update(ctx, &hcloud.Network{ID: id}, hcloud.NetworkUpdateOpts{
		Name: value(req.Inputs.Name), Labels: labelsOrNone(req.Inputs.Labels),
	})
	if on := value(req.Inputs.DeleteProtection); err == nil && have.Protection.Delete != on {
		err = protectNetwork(ctx, c, have, on)
	}
	return resp, err
}

// Delete deletes the network.
func (n *Network) Delete(ctx context.Context, req infer.DeleteRequest[NetworkState]) (infer.DeleteResponse, error) {
	id, err := number(req.ID)
	if err == nil {
		_, err = client(ctx).Network.Delete(ctx, &hcloud.Network{ID: id})
	}
	if gone(err) {
		err = nil
	}
	return infer.DeleteResponse{}, err
}
