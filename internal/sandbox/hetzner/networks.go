package hetzner

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/hetznercloud/hcloud-go/v2/hcloud/schema"
)

// A network is a private network of a project.
type network struct {
	base
	ipRange netip.Prefix
	subnets []schema.NetworkSubnet
	routes  []schema.NetworkRoute
	expose  bool
}

func (c *call) showNetwork(n *network) any {
	v := schema.Network{
		ID: n.id, Name: n.name, Created: n.created, IPRange: n.ipRange.String(), Labels: n.labels,
		Subnets: append([]schema.NetworkSubnet{}, n.subnets...), Routes: append([]schema.NetworkRoute{}, n.routes...),
		Servers: []int64{}, LoadBalancers: []int64{},
		Protection: schema.NetworkProtection{Delete: n.protected}, ExposeRoutesToVSwitch: n.expose,
	}
	for _, s := range c.p.servers {
		if slices.ContainsFunc(s.privateNets, func(p schema.ServerPrivateNet) bool { return p.Network == n.id }) {
			v.Servers = append(v.Servers, s.id)
		}
	}
	return v
}

func networkRoutes(handle func(string, handler)) {
	const taken = "network name is already used"
	one := func(do func(*call, *network) (int, any, error)) handler {
		return func(c *call) (int, any, error) {
			n, err := c.p.networks.ofCall(c, "network")
			if err != nil {
				return 0, nil, err
			}
			return do(c, n)
		}
	}
	show := func(c *call, n *network) (int, any, error) {
		return http.StatusOK, map[string]any{"network": c.showNetwork(n)}, nil
	}
	handle("GET /v1/networks", func(c *call) (int, any, error) { return c.p.networks.list(c, "networks", c.showNetwork) })
	handle("POST /v1/networks", func(c *call) (int, any, error) {
		n, err := c.orderedNetwork(taken)
		if err != nil {
			return 0, nil, err
		}
		c.p.networks = append(c.p.networks, n)
		return http.StatusCreated, map[string]any{"network": c.showNetwork(n)}, nil
	})
	handle("GET /v1/networks/{id}", one(show))
	handle("PUT /v1/networks/{id}", one(func(c *call, n *network) (int, any, error) {
		if err := c.p.networks.update(c, n, taken); err != nil {
			return 0, nil, err
		}
		return show(c, n)
	}))
	handle("DELETE /v1/networks/{id}", one(func(c *call, n *network) (int, any, error) {
		if n.protected {
			return 0, nil, refuse(http.StatusLocked, "protected", "network deletion is protected")
		}
		c.p.networks = c.p.networks.without(n.id)
		for _, s := range c.p.servers {
			s.privateNets = slices.DeleteFunc(s.privateNets, func(p schema.ServerPrivateNet) bool { return p.Network == n.id })
		}
		return http.StatusNoContent, nil, nil
	}))
	handle("POST /v1/networks/{id}/actions/add_subnet", one(addSubnet))
	handle("POST /v1/networks/{id}/actions/delete_subnet", one(deleteSubnet))
	handle("POST /v1/networks/{id}/actions/change_protection", one(func(c *call, n *network) (int, any, error) {
		var in schema.NetworkActionChangeProtectionRequest
		if err := c.decode(&in); err != nil {
			return 0, nil, err
		}
		if in.Delete != nil {
			n.protected = *in.Delete
		}
		return oneAction(c.start("change_protection", "network", n.id))
	}))
}

// orderedNetwork checks a request for a network and returns the network.
func (c *call) orderedNetwork(taken string) (*network, error) {
	var in schema.NetworkCreateRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Name == "" {
		return nil, invalid("name", "must not be empty")
	}
	if err := c.p.networks.free(in.Name, taken, 0); err != nil {
		return nil, err
	}
	if err := checkLabels(in.Labels); err != nil {
		return nil, err
	}
	ipRange, err := netip.ParsePrefix(in.IPRange)
	if err != nil || ipRange != ipRange.Masked() || !ipRange.Addr().Is4() || !ipRange.Addr().IsPrivate() || ipRange.Bits() > 24 {
		return nil, invalid("ip_range", "must be a private IPv4 network of at least /24")
	}
	n := &network{base: c.newBase(in.Name, in.Labels), ipRange: ipRange, routes: in.Routes, expose: in.ExposeRoutesToVSwitch}
	for _, s := range in.Subnets {
		if err := n.add(s); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// changing refuses a network that another action is changing.
func (c *call) changing(n *network) error {
	for _, a := range c.p.actions {
		if (a.resources[0] == schema.ActionResourceReference{ID: n.id, Type: "network"}) && c.opts.Now().Before(a.ends) {
			return refuse(http.StatusConflict, "conflict", "another change is being performed on network with ID '%d'", n.id)
		}
	}
	return nil
}

func addSubnet(c *call, n *network) (int, any, error) {
	var in schema.NetworkActionAddSubnetRequest
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	if err := c.changing(n); err != nil {
		return 0, nil, err
	}
	if err := n.add(schema.NetworkSubnet{Type: in.Type, IPRange: in.IPRange, NetworkZone: in.NetworkZone}); err != nil {
		return 0, nil, err
	}
	return oneAction(c.start("add_subnet", "network", n.id))
}

func deleteSubnet(c *call, n *network) (int, any, error) {
	var in schema.NetworkActionDeleteSubnetRequest
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	if err := c.changing(n); err != nil {
		return 0, nil, err
	}
	i := slices.IndexFunc(n.subnets, func(s schema.NetworkSubnet) bool { return s.IPRange == in.IPRange })
	if i < 0 {
		return 0, nil, refuse(http.StatusNotFound, "not_found", "subnet %s not found", in.IPRange)
	}
	subnet := netip.MustParsePrefix(in.IPRange)
	for _, s := range c.p.servers {
		for _, p := range s.privateNets {
			if p.Network == n.id && subnet.Contains(netip.MustParseAddr(p.IP)) {
				return 0, nil, refuse(http.StatusUnprocessableEntity, "service_error", "cannot remove subnet because servers are attached to it")
			}
		}
	}
	n.subnets = slices.Delete(n.subnets, i, i+1)
	return oneAction(c.start("delete_subnet", "network", n.id))
}

// add adds a subnet; without a range, the first free /24.
func (n *network) add(s schema.NetworkSubnet) error {
	if s.Type != "cloud" && s.Type != "server" {
		return invalid("type", "must be cloud")
	}
	if !slices.ContainsFunc(locations(), func(l location) bool { return l.zone == s.NetworkZone }) {
		return invalid("network_zone", "network zone not found")
	}
	prefix, err := netip.ParsePrefix(s.IPRange)
	if s.IPRange == "" {
		for prefix = netip.PrefixFrom(n.ipRange.Addr(), 24); n.overlaps(prefix); prefix = after(prefix) {
			if !n.ipRange.Contains(prefix.Addr()) {
				return invalid("ip_range", "no range is free")
			}
		}
	} else if err != nil || prefix != prefix.Masked() || !n.ipRange.Contains(prefix.Addr()) || prefix.Bits() < n.ipRange.Bits() || prefix.Bits() > 30 {
		return invalid("ip_range", "must be a network within %s", n.ipRange)
	} else if n.overlaps(prefix) {
		return invalid("ip_range", "overlaps with another subnet")
	}
	s.IPRange = prefix.String()
	s.Gateway = n.ipRange.Addr().Next().String()
	n.subnets = append(n.subnets, s)
	return nil
}

func (n *network) overlaps(p netip.Prefix) bool {
	return slices.ContainsFunc(n.subnets, func(s schema.NetworkSubnet) bool { return netip.MustParsePrefix(s.IPRange).Overlaps(p) })
}

// after is the /24 that follows.
func after(p netip.Prefix) netip.Prefix {
	b := p.Addr().As4()
	if b[2]++; b[2] == 0 {
		b[1]++
	}
	return netip.PrefixFrom(netip.AddrFrom4(b), 24)
}

// A place is where in a network a server wants to be; the zero place is anywhere.
type place struct {
	ip      string
	subnet  string // its range
	aliases []string
}

// attach gives v an address in the network: the one that it wants, or else the first free
// one of a subnet in its location's zone.
func (c *call) attach(v *server, id int64, at place) error {
	n, err := c.p.networks.get("network", id)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(v.privateNets, func(p schema.ServerPrivateNet) bool { return p.Network == id }) {
		return refuse(http.StatusUnprocessableEntity, "server_already_attached", "server is already attached to network")
	}
	used := c.usedIn(n)
	home, _ := findLocation(v.location)
	for _, s := range n.subnets {
		if s.NetworkZone != home.zone || at.subnet != "" && at.subnet != s.IPRange {
			continue
		}
		prefix := netip.MustParsePrefix(s.IPRange)
		for ip := prefix.Addr().Next(); prefix.Contains(ip.Next()); ip = ip.Next() {
			if used[ip.String()] || at.ip != "" && at.ip != ip.String() {
				continue
			}
			v.privateNets = append(v.privateNets, schema.ServerPrivateNet{
				Network: id, IP: ip.String(), AliasIPs: append([]string{}, at.aliases...),
				MACAddress: fmt.Sprintf("86:00:00:%02x:%02x:%02x", byte(v.id>>8), byte(v.id), len(v.privateNets)),
			})
			return nil
		}
	}
	if at.ip != "" {
		return refuse(http.StatusUnprocessableEntity, "ip_not_available", "IP %s is not available", at.ip)
	}
	return refuse(http.StatusUnprocessableEntity, "no_subnet_available", "no subnet or IP available")
}

// usedIn are the addresses of n that are given out, its gateway among them.
func (c *call) usedIn(n *network) map[string]bool {
	used := map[string]bool{n.ipRange.Addr().Next().String(): true}
	for _, s := range c.p.servers {
		for _, p := range s.privateNets {
			if p.Network == n.id {
				used[p.IP] = true
			}
		}
	}
	return used
}
