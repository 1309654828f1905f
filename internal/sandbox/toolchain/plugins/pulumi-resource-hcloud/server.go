package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// A Server is hcloud:index/server:Server.
type Server struct{}

// ServerArgs are a server's inputs. Those that this plugin cannot change in place make a
// new server, where the vendor's plugin does so too.
type ServerArgs struct {
	Name              *string           `pulumi:"name,optional"`
	ServerType        string            `pulumi:"serverType"`
	Image             *string           `pulumi:"image,optional" provider:"replaceOnChanges"`
	Location          *string           `pulumi:"location,optional" provider:"replaceOnChanges"`
	UserData          *string           `pulumi:"userData,optional" provider:"replaceOnChanges"`
	SshKeys           []string          `pulumi:"sshKeys,optional" provider:"replaceOnChanges"`
	Labels            map[string]string `pulumi:"labels,optional"`
	FirewallIds       []int             `pulumi:"firewallIds,optional"`
	PlacementGroupId  *int              `pulumi:"placementGroupId,optional"`
	Networks          []ServerNetwork   `pulumi:"networks,optional"`
	PublicNets        []ServerPublicNet `pulumi:"publicNets,optional"`
	KeepDisk          *bool             `pulumi:"keepDisk,optional"`
	DeleteProtection  *bool             `pulumi:"deleteProtection,optional"`
	RebuildProtection *bool             `pulumi:"rebuildProtection,optional"`
	// IgnoreRemoteFirewallIds keeps the firewalls of the program where the server's are others.
	IgnoreRemoteFirewallIds *bool `pulumi:"ignoreRemoteFirewallIds,optional"`
	ShutdownBeforeDeletion  *bool `pulumi:"shutdownBeforeDeletion,optional"`
}

// A ServerNetwork is a private network of a server, given by its own ID or a subnet's.
type ServerNetwork struct {
	NetworkId  *int     `pulumi:"networkId,optional"`
	SubnetId   *string  `pulumi:"subnetId,optional"`
	Ip         *string  `pulumi:"ip,optional"`
	AliasIps   []string `pulumi:"aliasIps,optional"`
	MacAddress *string  `pulumi:"macAddress,optional"`
}

// A ServerPublicNet says which public addresses a server has.
type ServerPublicNet struct {
	Ipv4        *int  `pulumi:"ipv4,optional"`
	Ipv4Enabled *bool `pulumi:"ipv4Enabled,optional"`
	Ipv6        *int  `pulumi:"ipv6,optional"`
	Ipv6Enabled *bool `pulumi:"ipv6Enabled,optional"`
}

// ServerState is what is known of a server.
type ServerState struct {
	ServerArgs
	Ipv4Address     string `pulumi:"ipv4Address"`
	Ipv6Address     string `pulumi:"ipv6Address"`
	Ipv6Network     string `pulumi:"ipv6Network"`
	Status          string `pulumi:"status"`
	PrimaryDiskSize int    `pulumi:"primaryDiskSize"`
}

// Annotate gives the type the vendor's token.
func (s *Server) Annotate(a infer.Annotator) { a.SetToken("index/server", "Server") }

// Check gives the server a name where the program does not, and reads IDs.
func (s *Server) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[ServerArgs], error) {
	req.NewInputs = numbers(req.NewInputs)
	return checkNamed[ServerArgs](ctx, req)
}

// Create makes the server and waits until it has started. What fails after it exists does
// not lose it: the state has it, and the next update goes on from there.
func (s *Server) Create(ctx context.Context, req infer.CreateRequest[ServerArgs]) (infer.CreateResponse[ServerState], error) {
	resp := infer.CreateResponse[ServerState]{Output: ServerState{ServerArgs: req.Inputs}}
	if req.DryRun {
		return resp, nil
	}
	c := client(ctx)
	opts, err := createOpts(ctx, c, req.Inputs)
	if err != nil {
		return resp, err
	}
	made, _, err := c.Server.Create(ctx, opts)
	if err != nil {
		return resp, err
	}
	resp.ID = text(made.Server.ID)
	resp.Output = serverState(made.Server, req.Inputs)
	err = finish(ctx, c, made, req.Inputs)
	if err == nil {
		resp.Output, err = readServer(ctx, c, made.Server.ID, req.Inputs)
	}
	if err != nil {
		return resp, infer.ResourceInitFailedError{Reasons: []string{err.Error()}}
	}
	return resp, nil
}

// finish waits for what making the server started, and does what can only be done then.
func finish(ctx context.Context, c *hcloud.Client, made hcloud.ServerCreateResult, in ServerArgs) error {
	if err := c.Action.WaitFor(ctx, append(made.NextActions, made.Action)...); err != nil {
		return err
	}
	for _, n := range in.Networks {
		if !n.plain() {
			if err := attach(ctx, c, made.Server, n); err != nil {
				return err
			}
		}
	}
	if value(in.DeleteProtection) || value(in.RebuildProtection) {
		return protect(ctx, c, made.Server, in)
	}
	return nil
}

// createOpts are the inputs as hcloud-go wants them.
func createOpts(ctx context.Context, c *hcloud.Client, in ServerArgs) (hcloud.ServerCreateOpts, error) {
	opts := hcloud.ServerCreateOpts{
		Name:       value(in.Name),
		ServerType: &hcloud.ServerType{Name: in.ServerType},
		Image:      &hcloud.Image{Name: value(in.Image)},
		UserData:   value(in.UserData),
		Labels:     in.Labels,
	}
	if id, err := strconv.ParseInt(value(in.Image), 10, 64); err == nil {
		opts.Image = &hcloud.Image{ID: id}
	}
	if in.Location != nil {
		opts.Location = &hcloud.Location{Name: *in.Location}
	}
	for _, name := range in.SshKeys {
		key, _, err := c.SSHKey.Get(ctx, name)
		if err != nil {
			return opts, err
		}
		if key == nil {
			return opts, fmt.Errorf("SSH key not found: %s", name)
		}
		opts.SSHKeys = append(opts.SSHKeys, key)
	}
	for _, id := range in.FirewallIds {
		opts.Firewalls = append(opts.Firewalls, &hcloud.ServerCreateFirewall{Firewall: hcloud.Firewall{ID: int64(id)}})
	}
	if in.PlacementGroupId != nil {
		opts.PlacementGroup = &hcloud.PlacementGroup{ID: int64(*in.PlacementGroupId)}
	}
	for _, n := range in.Networks {
		if n.plain() {
			opts.Networks = append(opts.Networks, &hcloud.Network{ID: int64(*n.NetworkId)})
		}
	}
	for _, n := range in.PublicNets {
		opts.PublicNet = &hcloud.ServerCreatePublicNet{
			EnableIPv4: n.Ipv4Enabled == nil || *n.Ipv4Enabled,
			EnableIPv6: n.Ipv6Enabled == nil || *n.Ipv6Enabled,
		}
		if n.Ipv4 != nil {
			opts.PublicNet.IPv4 = &hcloud.PrimaryIP{ID: int64(*n.Ipv4)}
		}
		if n.Ipv6 != nil {
			opts.PublicNet.IPv6 = &hcloud.PrimaryIP{ID: int64(*n.Ipv6)}
		}
	}
	return opts, nil
}

// Delete deletes the server.
func (s *Server) Delete(ctx context.Context, req infer.DeleteRequest[ServerState]) (infer.DeleteResponse, error) {
	id, err := number(req.ID)
	if err != nil {
		return infer.DeleteResponse{}, err
	}
	c := client(ctx)
	result, _, err := c.Server.DeleteWithResult(ctx, &hcloud.Server{ID: id})
	if err == nil {
		err = c.Action.WaitFor(ctx, result.Action)
	}
	if gone(err) {
		err = nil
	}
	return infer.DeleteResponse{}, err
}
