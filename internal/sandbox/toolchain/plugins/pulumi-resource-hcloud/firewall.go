package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"reflect"
	"slices"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// A Firewall is hcloud:index/firewall:Firewall.
type Firewall struct{}

// FirewallArgs are a firewall's inputs.
type FirewallArgs struct {
	Name     *string           `pulumi:"name,optional"`
	Labels   map[string]string `pulumi:"labels,optional"`
	Rules    []FirewallRule    `pulumi:"rules,optional"`
	ApplyTos []FirewallApplyTo `pulumi:"applyTos,optional"`
}

// A FirewallRule lets traffic through.
type FirewallRule struct {
	Direction      string   `pulumi:"direction"` // "in" or "out"
	Protocol       string   `pulumi:"protocol"`
	Port           *string  `pulumi:"port,optional"`
	SourceIps      []string `pulumi:"sourceIps,optional"`
	DestinationIps []string `pulumi:"destinationIps,optional"`
	Description    *string  `pulumi:"description,optional"`
}

// A FirewallApplyTo is what a firewall protects: a server, or those with certain labels.
type FirewallApplyTo struct {
	LabelSelector *string `pulumi:"labelSelector,optional"`
	Server        *int    `pulumi:"server,optional"`
}

// FirewallState is what is known of a firewall.
type FirewallState struct{ FirewallArgs }

// Annotate gives the type the vendor's token.
func (f *Firewall) Annotate(a infer.Annotator) { a.SetToken("index/firewall", "Firewall") }

// Check gives the firewall a name where the program does not.
func (f *Firewall) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[FirewallArgs], error) {
	return checkNamed[FirewallArgs](ctx, req)
}

// Create makes the firewall.
func (f *Firewall) Create(ctx context.Context, req infer.CreateRequest[FirewallArgs]) (infer.CreateResponse[FirewallState], error) {
	in := req.Inputs
	resp := infer.CreateResponse[FirewallState]{Output: FirewallState{in}}
	if req.DryRun {
		return resp, nil
	}
	rules, err := rulesOf(in.Rules)
	if err != nil {
		return resp, err
	}
	c := client(ctx)
	made, _, err := c.Firewall.Create(ctx, hcloud.FirewallCreateOpts{
		Name: value(in.Name), Labels: in.Labels, Rules: rules, ApplyTo: resourcesOf(in.ApplyTos),
	})
	if err != nil {
		return resp, err
	}
	resp.ID = text(made.Firewall.ID)
	if err := c.Action.WaitFor(ctx, made.Actions...); err != nil {
		return resp, infer.ResourceInitFailedError{Reasons: []string{err.Error()}}
	}
	return resp, nil
}

// Read finds out what the firewall is now. Where it is applied is left as the program has
// it: servers say so themselves.
func (f *Firewall) Read(ctx context.Context, req infer.ReadRequest[FirewallArgs, FirewallState]) (infer.ReadResponse[FirewallArgs, FirewallState], error) {
	id, err := number(req.ID)
	if err != nil {
		return infer.ReadResponse[FirewallArgs, FirewallState]{}, err
	}
	have, _, err := client(ctx).Firewall.GetByID(ctx, id)
	if err != nil || have == nil {
		return infer.ReadResponse[FirewallArgs, FirewallState]{}, err
	}
	in := req.Inputs
	in.Labels = keptLabels(in.Labels, have.Labels, in.Name == nil)
	in.Name = &have.Name
	// The API returns the rules in an order of its own.
	if now := rulesFrom(have.Rules); !sameRules(in.Rules, now) {
		in.Rules = now
	}
	return infer.ReadResponse[FirewallArgs, FirewallState]{ID: req.ID, Inputs: in, State: FirewallState{in}}, nil
}

// Update changes the firewall in place.
func (f *Firewall) Update(ctx context.Context, req infer.UpdateRequest[FirewallArgs, FirewallState]) (infer.UpdateResponse[FirewallState], error) {
	in := req.Inputs
	resp := infer.UpdateResponse[FirewallState]{Output: FirewallState{in}}
	id, err := number(req.ID)
	if err != nil || req.DryRun {
		return resp, err
	}
	if !reflect.DeepEqual(req.State.ApplyTos, in.ApplyTos) {
		return resp, fmt.Errorf("this plugin cannot change applyTos of a firewall that exists")
	}
	rules, err := rulesOf(in.Rules)
	if err != nil {
		return resp, err
	}
	c := client(ctx)
	wall := &hcloud.Firewall{ID: id}
	if _, _, err := c.Firewall.Update(ctx, wall, hcloud.FirewallUpdateOpts{Name: value(in.Name), Labels: labelsOrNone(in.Labels)}); err != nil {
		return resp, err
	}
	if sameRules(req.State.Rules, in.Rules) {
		return resp, nil
	}
	actions, _, err := c.Firewall.SetRules(ctx, wall, hcloud.FirewallSetRulesOpts{Rules: rules})
	if err == nil {
		err = c.Action.WaitFor(ctx, actions...)
	}
	return resp, err
}

// Delete deletes the firewall, from wherever it is applied.
func (f *Firewall) Delete(ctx context.Context, req infer.DeleteRequest[FirewallState]) (infer.DeleteResponse, error) {
	id, err := number(req.ID)
	if err != nil {
		return infer.DeleteResponse{}, err
	}
	c := client(ctx)
	have, _, err := c.Firewall.GetByID(ctx, id)
	if err != nil || have == nil {
		return infer.DeleteResponse{}, err
	}
	if len(have.AppliedTo) > 0 {
		actions, _, err := c.Firewall.RemoveResources(ctx, have, have.AppliedTo)
		if err == nil {
			err = c.Action.WaitFor(ctx, actions...)
		}
		if err != nil {
			return infer.DeleteResponse{}, err
		}
	}
	if _, err = c.Firewall.Delete(ctx, have); gone(err) {
		err = nil
	}
	return infer.DeleteResponse{}, err
}

func resourcesOf(to []FirewallApplyTo) []hcloud.FirewallResource {
	var list []hcloud.FirewallResource
	for _, a := range to {
		if a.Server != nil {
			list = append(list, hcloud.FirewallResource{Type: hcloud.FirewallResourceTypeServer, Server: &hcloud.FirewallResourceServer{ID: int64(*a.Server)}})
		}
		if a.LabelSelector != nil {
			list = append(list, hcloud.FirewallResource{
				Type: hcloud.FirewallResourceTypeLabelSelector, LabelSelector: &hcloud.FirewallResourceLabelSelector{Selector: *a.LabelSelector},
			})
		}
	}
	return list
}

func rulesOf(in []FirewallRule) ([]hcloud.FirewallRule, error) {
	rules := []hcloud.FirewallRule{}
	for _, r := range in {
		rule := hcloud.FirewallRule{
			Direction: hcloud.FirewallRuleDirection(r.Direction), Protocol: hcloud.FirewallRuleProtocol(r.Protocol), Port: r.Port, Description: r.Description,
		}
		for _, side := range []struct {
			texts []string
			nets  *[]net.IPNet
		}{{r.SourceIps, &rule.SourceIPs}, {r.DestinationIps, &rule.DestinationIPs}} {
			for _, ip := range side.texts {
				_, n, err := net.ParseCIDR(ip)
				if err != nil {
					return nil, fmt.Errorf("rules: %w", err)
				}
				*side.nets = append(*side.nets, *n)
			}
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func rulesFrom(have []hcloud.FirewallRule) []FirewallRule {
	var rules []FirewallRule
	for _, r := range have {
		rule := FirewallRule{Direction: string(r.Direction), Protocol: string(r.Protocol), Port: r.Port, Description: r.Description}
		for _, n := range r.SourceIPs {
			rule.SourceIps = append(rule.SourceIps, n.String())
		}
		for _, n := range r.DestinationIPs {
			rule.DestinationIps = append(rule.DestinationIps, n.String())
		}
		rules = append(rules, rule)
	}
	return rules
}

// sameRules compares regardless of order, as the vendor's plugin does.
func sameRules(a, b []FirewallRule) bool {
	key := func(r FirewallRule) string {
		slices.Sort(r.SourceIps)
		slices.Sort(r.DestinationIps)
		return fmt.Sprintln(r.Direction, r.Protocol, value(r.Port), r.SourceIps, r.DestinationIps, value(r.Description))
	}
	keys := func(rules []FirewallRule) []string {
		var list []string
		for _, r := range rules {
			r.SourceIps, r.DestinationIps = slices.Clone(r.SourceIps), slices.Clone(r.DestinationIps)
			list = append(list, key(r))
		}
		slices.SortFunc(list, cmp.Compare)
		return list
	}
	return slices.Equal(keys(a), keys(b))
}
