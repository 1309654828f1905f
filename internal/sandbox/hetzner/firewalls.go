package hetzner

import (
	"net/http"
	"net/netip"
	"slices"

	"github.com/hetznercloud/hcloud-go/v2/hcloud/schema"
)

// A firewall is a set of rules, and what they are applied to.
type firewall struct {
	base
	rules     []schema.FirewallRule
	servers   []int64  // applied to each of them
	selectors []string // applied to the servers whose labels match one
}

// applied returns the servers behind f, each once.
func (f *firewall) applied(p *project) []int64 {
	ids := slices.Clone(f.servers)
	for _, text := range f.selectors {
		s, _ := parseSelector(text) // checked when it was set
		for _, v := range p.servers {
			if s.matches(v.labels) && !slices.Contains(ids, v.id) {
				ids = append(ids, v.id)
			}
		}
	}
	return ids
}

func (f *firewall) remove(server int64) {
	f.servers = slices.DeleteFunc(f.servers, func(id int64) bool { return id == server })
}

func (c *call) showFirewall(f *firewall) any {
	v := schema.Firewall{
		ID: f.id, Name: f.name, Created: f.created, Labels: f.labels,
		Rules: append([]schema.FirewallRule{}, f.rules...), AppliedTo: []schema.FirewallResource{},
	}
	for _, id := range f.servers {
		v.AppliedTo = append(v.AppliedTo, schema.FirewallResource{Type: "server", Server: &schema.FirewallResourceServer{ID: id}})
	}
	for _, s := range f.selectors {
		v.AppliedTo = append(v.AppliedTo, schema.FirewallResource{Type: "label_selector", LabelSelector: &schema.FirewallResourceLabelSelector{Selector: s}})
	}
	return v
}

func firewallRoutes(handle func(string, handler)) {
	const taken = "firewall name is already used"
	one := func(do func(*call, *firewall) (int, any, error)) handler {
		return func(c *call) (int, any, error) {
			f, err := c.p.firewalls.ofCall(c, "firewall")
			if err != nil {
				return 0, nil, err
			}
			return do(c, f)
		}
	}
	show := func(c *call, f *firewall) (int, any, error) {
		return http.StatusOK, map[string]any{"firewall": c.showFirewall(f)}, nil
	}
	handle("GET /v1/firewalls", func(c *call) (int, any, error) { return c.p.firewalls.list(c, "firewalls", c.showFirewall) })
	handle("POST /v1/firewalls", func(c *call) (int, any, error) { return createFirewall(c, taken) })
	handle("GET /v1/firewalls/{id}", one(show))
	handle("PUT /v1/firewalls/{id}", one(func(c *call, f *firewall) (int, any, error) {
		if err := c.p.firewalls.update(c, f, taken); err != nil {
			return 0, nil, err
		}
		return show(c, f)
	}))
	handle("DELETE /v1/firewalls/{id}", one(func(c *call, f *firewall) (int, any, error) {
		if len(f.servers)+len(f.selectors) > 0 {
			return 0, nil, refuse(http.StatusUnprocessableEntity, "resource_in_use", "firewall with ID '%d' is still in use", f.id)
		}
		c.p.firewalls = c.p.firewalls.without(f.id)
		return http.StatusNoContent, nil, nil
	}))
	handle("POST /v1/firewalls/{id}/actions/set_rules", one(func(c *call, f *firewall) (int, any, error) {
		var in schema.FirewallActionSetRulesRequest
		if err := c.decode(&in); err != nil {
			return 0, nil, err
		}
		rules, err := checkRules(in.Rules)
		if err != nil {
			return 0, nil, err
		}
		f.rules = rules
		return c.firewallActions(f, "set_firewall_rules", f.applied(c.p))
	}))
	handle("POST /v1/firewalls/{id}/actions/apply_to_resources", one(func(c *call, f *firewall) (int, any, error) {
		var in schema.FirewallActionApplyToResourcesRequest
		if err := c.decode(&in); err != nil {
			return 0, nil, err
		}
		if err := c.apply(f, in.ApplyTo); err != nil {
			return 0, nil, err
		}
		return c.firewallActions(f, "apply_firewall", f.applied(c.p))
	}))
	handle("POST /v1/firewalls/{id}/actions/remove_from_resources", one(removeFirewall))
}

// firewallActions answers a change of f with an action for each server that it reaches.
func (c *call) firewallActions(f *firewall, command string, servers []int64) (int, any, error) {
	return http.StatusCreated, map[string]any{"actions": c.startFirewall(f, command, servers)}, nil
}

func (c *call) startFirewall(f *firewall, command string, servers []int64) []schema.Action {
	actions := []schema.Action{}
	for _, id := range servers {
		a := c.start(command, "firewall", f.id, schema.ActionResourceReference{ID: id, Type: "server"})
		actions = append(actions, a.show())
	}
	return actions
}

func createFirewall(c *call, taken string) (int, any, error) {
	var in schema.FirewallCreateRequest
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	if in.Name == "" || len(in.Name) > 128 {
		return 0, nil, invalid("name", "must have 1 to 128 characters")
	}
	if err := c.p.firewalls.free(in.Name, taken, 0); err != nil {
		return 0, nil, err
	}
	if err := checkLabels(in.Labels); err != nil {
		return 0, nil, err
	}
	rules, err := checkRules(in.Rules)
	if err != nil {
		return 0, nil, err
	}
	f := &firewall{base: c.newBase(in.Name, in.Labels), rules: rules}
	if err := c.apply(f, in.ApplyTo); err != nil {
		return 0, nil, err
	}
	c.p.firewalls = append(c.p.firewalls, f)
	actions := c.startFirewall(f, "apply_firewall", f.applied(c.p))
	return http.StatusCreated, map[string]any{"firewall": c.showFirewall(f), "actions": actions}, nil
}

func removeFirewall(c *call, f *firewall) (int, any, error) {
	var in schema.FirewallActionRemoveFromResourcesRequest
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	var gone []int64
	for _, r := range in.RemoveFrom {
		switch {
		case r.Server != nil:
			f.remove(r.Server.ID)
			gone = append(gone, r.Server.ID)
		case r.LabelSelector != nil:
			f.selectors = slices.DeleteFunc(f.selectors, func(s string) bool { return s == r.LabelSelector.Selector })
		}
	}
	return c.firewallActions(f, "remove_firewall", gone)
}

// apply applies f to resources, all of them or none.
func (c *call) apply(f *firewall, to []schema.FirewallResource) error {
	servers, selectors := slices.Clone(f.servers), slices.Clone(f.selectors)
	for _, r := range to {
		switch {
		case r.Type == "server" && r.Server != nil:
			if _, err := c.p.servers.get("server", r.Server.ID); err != nil {
				return refuse(http.StatusUnprocessableEntity, "firewall_resource_not_found", "server with ID '%d' not found", r.Server.ID)
			}
			if slices.Contains(servers, r.Server.ID) {
				return refuse(http.StatusUnprocessableEntity, "firewall_already_applied", "firewall was already applied on resource")
			}
			servers = append(servers, r.Server.ID)
		case r.Type == "label_selector" && r.LabelSelector != nil:
			if s, err := parseSelector(r.LabelSelector.Selector); err != nil || len(s) == 0 {
				return invalid("label_selector", "invalid label selector")
			}
			selectors = append(selectors, r.LabelSelector.Selector)
		default:
			return invalid("apply_to", "must name a server or a label selector")
		}
	}
	f.servers, f.selectors = servers, selectors
	return nil
}

// checkRules returns the rules that were asked for.
func checkRules(in []schema.FirewallRuleRequest) ([]schema.FirewallRule, error) {
	if len(in) > 50 {
		return nil, invalid("rules", "must have at most 50 items")
	}
	var rules []schema.FirewallRule
	for _, r := range in {
		ips, other := r.SourceIPs, r.DestinationIPs
		switch r.Direction {
		case "in":
		case "out":
			ips, other = other, ips
		default:
			return nil, invalid("rules", "direction must be in or out")
		}
		if len(ips) == 0 || len(other) > 0 {
			return nil, invalid("rules", "a rule needs source_ips or destination_ips, as its direction is")
		}
		for _, ip := range ips {
			if p, err := netip.ParsePrefix(ip); err != nil || p != p.Masked() {
				return nil, invalid("rules", "%s is not a network", ip)
			}
		}
		if !slices.Contains([]string{"tcp", "udp", "icmp", "esp", "gre"}, r.Protocol) {
			return nil, invalid("rules", "protocol is not supported")
		}
		if hasPort := r.Port != nil; hasPort != (r.Protocol == "tcp" || r.Protocol == "udp") {
			return nil, invalid("rules", "a port is required for tcp and udp, and for no other protocol")
		}
		rules = append(rules, schema.FirewallRule{
			Direction: r.Direction, Protocol: r.Protocol, Port: r.Port, Description: r.Description,
			SourceIPs: append([]string{}, r.SourceIPs...), DestinationIPs: append([]string{}, r.DestinationIPs...),
		})
	}
	return rules, nil
}
