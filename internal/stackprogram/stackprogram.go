// Package stackprogram is the Pulumi program that is used where no repository is named:
// it runs in our own process, and declares the servers of one stack at Hetzner.
//
// A shared stack has one server for each node that its config lists, a firewall, and
// placement groups that keep the servers on different hosts. A dedicated stack has three
// servers, app, db and redis, in a private network, with firewalls of their own.
// What program and caller agree on is written in internal/pulumi (config.go, outputs.go).
//
// To add a kind of server to dedicated stacks, add it to roles in dedicated.go.
//
// Servers are protected, and what they were made with is not looked at again: a program
// or a setting that changes later makes new servers different, and leaves the others be.
package stackprogram

import (
	"cmp"
	"encoding/json"
	"strconv"

	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// Settings say what servers are made of, besides their type and location, which the config
// says. They count when a server is made, and never again. The zero Settings are sensible.
type Settings struct {
	// Image is the system; empty for Ubuntu 24.04.
	Image string
	// SSHKey is the name at Hetzner of the key that may log in; empty for none, in which
	// case Hetzner mails a password.
	SSHKey string
	// SSHFrom lists who may connect to port 22, as CIDRs; empty for everybody.
	SSHFrom []string
}

// Program returns the program, to be run by the Automation API.
func Program(s Settings) pulumi.RunFunc {
	return func(ctx *pulumi.Context) error {
		b := builder{
			ctx:      ctx,
			settings: s,
			region:   placement.Region(configured(ctx, "region")),
			tenant:   configured(ctx, "tenant_id"),
			job:      configured(ctx, "job_id"),
		}
		order := Complete(provision.Order{}, b.region)
		if len(order.Locations) == 0 || b.tenant == "" || b.job == "" {
			return provision.Errorf(provision.Invalid, "config prego: region %q must be sg, us or eu, tenant_id %q and job_id %q not empty",
				b.region, b.tenant, b.job)
		}
		b.place = provision.Place{
			Location: cmp.Or(configured(ctx, "server_location"), order.Locations[0]),
			Type:     cmp.Or(configured(ctx, "server_type"), order.Types[0]),
			DBType:   configured(ctx, "db_server_type"), RedisType: configured(ctx, "redis_server_type"),
		}
		if configured(ctx, "dedicated") == "true" {
			return b.dedicated()
		}
		var nodes []string
		if err := json.Unmarshal([]byte(configured(ctx, "nodes")), &nodes); err != nil || len(nodes) == 0 {
			return provision.Errorf(provision.Invalid, "config prego:nodes is not a JSON list of node keys")
		}
		return b.shared(nodes)
	}
}

// configured returns the config that the caller has set; "" if it has not.
func configured(ctx *pulumi.Context, name string) string {
	value, _ := ctx.GetConfig("prego:" + name)
	return value
}

// defaultImage is the system of new servers.
const defaultImage = "ubuntu-24.04"

// A site is where a region's servers stand by default: the locations in the order in which
// they are tried, and a type of about 2 cores and 4 GB that Hetzner has at each of them.
type site struct {
	locations  []string
	serverType string
}

// https://docs.hetzner.com/cloud/general/locations
var sites = map[placement.Region]site{
	placement.SG: {[]string{"sin"}, "cpx22"},
	placement.US: {[]string{"ash", "hil"}, "cpx21"},
	placement.EU: {[]string{"nbg1", "fsn1", "hel1"}, "cpx22"},
}

// Complete returns an order of a region's servers with this program's defaults in place of
// what it leaves open. For a region that there is not it returns o.
func Complete(o provision.Order, region placement.Region) provision.Order {
	s, ok := sites[region]
	if !ok {
		return o
	}
	if len(o.Locations) == 0 {
		o.Locations = s.locations
	}
	if len(o.Types) == 0 {
		o.Types = []string{s.serverType}
	}
	o.Image = cmp.Or(o.Image, defaultImage)
	return o
}

// zones are the network zones of the locations: a private network reaches no further.
var zones = map[string]string{
	"sin": "ap-southeast", "ash": "us-east", "hil": "us-west", "nbg1": "eu-central", "fsn1": "eu-central", "hel1": "eu-central",
}

// A builder declares resources for one job.
type builder struct {
	ctx      *pulumi.Context
	settings Settings
	place    provision.Place // where and what a new server is
	region   placement.Region
	tenant   string
	job      string
}

// made lists what a server was made with. None of it is looked at again: the labels are
// completed by whoever registers the server, and the rest would make a new server, stop
// the one that is there or take it off its network.
var made = []string{"labels", "serverType", "image", "location", "sshKeys", "userData", "networks",
	"placementGroupId", "firewallIds", "publicNets", "keepDisk"}

// server declares a server of a type, with what all have in common.
func (b builder) server(name, hetznerName, serverType string, labels map[string]string, args hcloud.ServerArgs,
	opts ...pulumi.ResourceOption,
) (*hcloud.Server, error) {
	args.Name = pulumi.String(hetznerName)
	args.ServerType = pulumi.String(serverType)
	args.Image = pulumi.String(cmp.Or(b.settings.Image, defaultImage))
	args.Location = pulumi.String(b.place.Location)
	args.Labels = b.labels(labels)
	if b.settings.SSHKey != "" {
		args.SshKeys = pulumi.ToStringArray([]string{b.settings.SSHKey})
	}
	return hcloud.NewServer(b.ctx, name, &args, append(opts, pulumi.Protect(true), pulumi.IgnoreChanges(made))...)
}

// labels are set when a resource is made, so that one whose making was cut short can be
// found: managed-by and what is in more.
func (b builder) labels(more map[string]string) pulumi.StringMap {
	m := pulumi.StringMap{"managed-by": pulumi.String("prego"), "region": pulumi.String(string(b.region))}
	for name, value := range more {
		m[name] = pulumi.String(value)
	}
	return m
}

// jobLabels say for which job, and so for whom, a resource is made.
func (b builder) jobLabels() map[string]string {
	return map[string]string{"tenant_id": provision.LabelValue(b.tenant), "job_id": provision.LabelValue(b.job)}
}

// firewall lets in what comes to the TCP ports, SSH and pings.
func (b builder) firewall(name, hetznerName string, labels map[string]string, ports ...string) (*hcloud.Firewall, error) {
	all := []string{"0.0.0.0/0", "::/0"}
	from := b.settings.SSHFrom
	if len(from) == 0 {
		from = all
	}
	rules := hcloud.FirewallRuleArray{
		rule("icmp", "", all),
		rule("tcp", "22", from),
	}
	for _, port := range ports {
		rules = append(rules, rule("tcp", port, all))
	}
	return hcloud.NewFirewall(b.ctx, name, &hcloud.FirewallArgs{
		Name: pulumi.String(hetznerName), Rules: rules, Labels: b.labels(labels),
	}, pulumi.IgnoreChanges([]string{"labels"}))
}

func rule(protocol, port string, from []string) hcloud.FirewallRuleArgs {
	r := hcloud.FirewallRuleArgs{
		Direction: pulumi.String("in"), Protocol: pulumi.String(protocol), SourceIps: pulumi.ToStringArray(from),
	}
	if port != "" {
		r.Port = pulumi.String(port)
	}
	return r
}

// spread declares a group whose servers Hetzner puts on different hosts.
func (b builder) spread(name, hetznerName string, labels map[string]string) (*hcloud.PlacementGroup, error) {
	return hcloud.NewPlacementGroup(b.ctx, name, &hcloud.PlacementGroupArgs{
		Name: pulumi.String(hetznerName), Type: pulumi.String("spread"), Labels: b.labels(labels),
	}, pulumi.IgnoreChanges([]string{"labels"}))
}

// number turns the ID that Hetzner gave a resource into the number that refers to it.
func number(id pulumi.IDOutput) pulumi.IntOutput {
	return id.ApplyT(func(id pulumi.ID) (int, error) { return strconv.Atoi(string(id)) }).(pulumi.IntOutput)
}
