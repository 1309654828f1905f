package hetzner

import (
	"net/http"
	"slices"

	"github.com/hetznercloud/hcloud-go/v2/hcloud/schema"
)

// serverActionRoutes are the routes that start an action of a server. Each refuses a
// server that is busy with another.
func serverActionRoutes(handle func(string, handler)) {
	on := func(name, command string, do func(*call, *server) error) {
		handle("POST /v1/servers/{id}/actions/"+name, func(c *call) (int, any, error) {
			v, err := c.p.servers.ofCall(c, "server")
			if err != nil {
				return 0, nil, err
			}
			if c.locked(v.id) {
				return 0, nil, refuse(http.StatusLocked, "locked", "server is locked")
			}
			if err := do(c, v); err != nil {
				return 0, nil, err
			}
			return oneAction(c.start(command, "server", v.id))
		})
	}
	on("poweron", "start_server", (*call).powerOn)
	on("poweroff", "stop_server", (*call).powerOff)
	on("shutdown", "shutdown_server", (*call).powerOff)
	on("reboot", "reboot_server", func(*call, *server) error { return nil })
	on("change_type", "change_server_type", (*call).changeType)
	on("change_protection", "change_protection", (*call).changeProtection)
	on("attach_to_network", "attach_to_network", (*call).attachToNetwork)
	on("detach_from_network", "detach_from_network", (*call).detachFromNetwork)
	on("change_alias_ips", "change_alias_ips", (*call).changeAliasIPs)
	on("add_to_placement_group", "add_to_placement_group", (*call).addToPlacementGroup)
	on("remove_from_placement_group", "remove_from_placement_group", (*call).removeFromPlacementGroup)
}

func (c *call) powerOn(v *server) error {
	v.off = false
	v.booted = c.opts.Now().Add(c.opts.ActionTime / 4)
	return nil
}

func (c *call) powerOff(v *server) error {
	v.off = true
	return nil
}

// stopped refuses a server that runs.
func stopped(v *server) error {
	if !v.off {
		return refuse(http.StatusUnprocessableEntity, "server_not_stopped", "server must be stopped")
	}
	return nil
}

func (c *call) changeType(v *server) error {
	var in schema.ServerActionChangeTypeRequest
	if err := c.decode(&in); err != nil {
		return err
	}
	kind, ok := findType(in.ServerType)
	if !ok || kind.architecture != typeNamed(v.serverType).architecture || !slices.Contains(kind.locations, v.location) {
		return refuse(http.StatusUnprocessableEntity, "invalid_server_type", "server type does not fit for the given server")
	}
	if err := stopped(v); err != nil {
		return err
	}
	if c.unavailable[[2]string{kind.name, v.location}] {
		return refuse(http.StatusPreconditionFailed, "resource_unavailable", "error during placement")
	}
	v.serverType = kind.name
	return nil
}

func (c *call) changeProtection(v *server) error {
	var in schema.ServerActionChangeProtectionRequest
	if err := c.decode(&in); err != nil {
		return err
	}
	after := [2]bool{v.protected, v.rebuildGuarded}
	if in.Delete != nil {
		after[0] = *in.Delete
	}
	if in.Rebuild != nil {
		after[1] = *in.Rebuild
	}
	if after[0] != after[1] {
		return invalid("rebuild", "has to be the same as delete")
	}
	v.protected, v.rebuildGuarded = after[0], after[1]
	return nil
}

func (c *call) attachToNetwork(v *server) error {
	var in schema.ServerActionAttachToNetworkRequest
	if err := c.decode(&in); err != nil {
		return err
	}
	var at place
	if in.IP != nil {
		at.ip = *in.IP
	}
	if in.IPRange != nil {
		at.subnet = *in.IPRange
	}
	for _, ip := range in.AliasIPs {
		at.aliases = append(at.aliases, *ip)
	}
	return c.attach(v, in.Network, at)
}

func (c *call) detachFromNetwork(v *server) error {
	var in schema.ServerActionDetachFromNetworkRequest
	if err := c.decode(&in); err != nil {
		return err
	}
	if !slices.ContainsFunc(v.privateNets, func(n schema.ServerPrivateNet) bool { return n.Network == in.Network }) {
		return notFound("network", in.Network)
	}
	v.privateNets = slices.DeleteFunc(v.privateNets, func(n schema.ServerPrivateNet) bool { return n.Network == in.Network })
	return nil
}

func (c *call) changeAliasIPs(v *server) error {
	var in schema.ServerActionChangeAliasIPsRequest
	if err := c.decode(&in); err != nil {
		return err
	}
	for i, n := range v.privateNets {
		if n.Network == in.Network {
			v.privateNets[i].AliasIPs = append([]string{}, in.AliasIPs...)
			return nil
		}
	}
	return notFound("network", in.Network)
}

func (c *call) addToPlacementGroup(v *server) error {
	var in schema.ServerActionAddToPlacementGroupRequest
	if err := c.decode(&in); err != nil {
		return err
	}
	g, err := c.p.placements.get("placement group", in.PlacementGroup)
	if err != nil {
		return err
	}
	if err := stopped(v); err != nil {
		return err
	}
	if len(c.membersOf(g.id)) >= maxSpread {
		return refuse(http.StatusUnprocessableEntity, "placement_error", "an error during the placement occurred")
	}
	v.placementGroup = g.id
	return nil
}

func (c *call) removeFromPlacementGroup(v *server) error {
	v.placementGroup = 0
	return nil
}
