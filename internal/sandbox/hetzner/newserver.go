package hetzner

import (
	"net/http"
	"slices"

	"github.com/hetznercloud/hcloud-go/v2/hcloud/schema"
)

// A newServer is the body of a request for a server.
type newServer struct {
	Name             string             `json:"name"`
	ServerType       schema.IDOrName    `json:"server_type"`
	Image            schema.IDOrName    `json:"image"`
	Location         string             `json:"location"`
	Datacenter       *string            `json:"datacenter"`
	SSHKeys          []schema.IDOrName  `json:"ssh_keys"`
	UserData         string             `json:"user_data"`
	StartAfterCreate *bool              `json:"start_after_create"`
	Labels           *map[string]string `json:"labels"`
	Networks         []int64            `json:"networks"`
	Volumes          []int64            `json:"volumes"`
	Firewalls        []struct {
		Firewall int64 `json:"firewall"`
	} `json:"firewalls"`
	PlacementGroup int64 `json:"placement_group"`
	PublicNet      *struct {
		EnableIPv4 *bool  `json:"enable_ipv4"`
		EnableIPv6 *bool  `json:"enable_ipv6"`
		IPv4       *int64 `json:"ipv4"`
		IPv6       *int64 `json:"ipv6"`
	} `json:"public_net"`
}

func createServer(c *call) (int, any, error) {
	var in newServer
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	v, err := c.orderedServer(in)
	if err != nil {
		return 0, nil, err
	}
	// Nothing can be refused from here on.
	done := c.opts.Now().Add(c.opts.ActionTime / 2)
	v.installed, v.booted = done, done.Add(c.opts.ActionTime/2)
	create := c.startUntil(v.installed, "create_server", "server", v.id)
	v.failed = create.failure != nil
	next := []schema.Action{}
	if in.StartAfterCreate == nil || *in.StartAfterCreate {
		next = append(next, c.startUntil(v.booted, "start_server", "server", v.id).show())
	} else {
		v.off = true
	}
	c.p.servers = append(c.p.servers, v)
	for _, f := range in.Firewalls {
		if fw, err := c.p.firewalls.get("firewall", f.Firewall); err == nil {
			fw.servers = append(fw.servers, v.id)
		}
	}
	var password *string
	if len(in.SSHKeys) == 0 {
		text := "not-a-real-password"
		password = &text
	}
	shown := c.showServer(v).(serverView)
	shown.Status = "initializing"
	return http.StatusCreated, map[string]any{"server": shown, "action": create.show(), "next_actions": next, "root_password": password}, nil
}

// orderedServer checks what was asked for, in the order in which it would cost something,
// and returns the server with its addresses.
func (c *call) orderedServer(in newServer) (*server, error) {
	if !validHost(in.Name) {
		return nil, invalid("name", "%q is not a valid hostname", in.Name)
	}
	if err := c.p.servers.free(in.Name, serverNameTaken, 0); err != nil {
		return nil, err
	}
	if in.Datacenter != nil {
		return nil, invalid("datacenter", "was removed, use location")
	}
	if err := checkLabels(in.Labels); err != nil {
		return nil, err
	}
	if len(in.UserData) > 32<<10 {
		return nil, invalid("user_data", "is longer than 32 KiB")
	}
	if len(in.Volumes) > 0 {
		return nil, notFound("volume", in.Volumes[0])
	}
	kind, location, image, err := c.orderedKind(in)
	if err != nil {
		return nil, err
	}
	if err := c.knowsReferences(in); err != nil {
		return nil, err
	}
	if c.opts.MaxServers > 0 && len(c.p.servers) >= c.opts.MaxServers {
		limits := map[string]any{"limits": []map[string]string{{"name": "server_limit"}}}
		return nil, &apiError{http.StatusForbidden, "resource_limit_exceeded", "server limit exceeded", limits}
	}
	if at := [2]string{kind.name, location.name}; c.unavailable[at] || c.full[at] {
		return nil, refuse(http.StatusPreconditionFailed, "resource_unavailable", "error during placement")
	}
	v := &server{base: c.newBase(in.Name, in.Labels), location: location.name, serverType: kind.name, image: image, placementGroup: in.PlacementGroup}
	if in.PlacementGroup != 0 && len(c.membersOf(in.PlacementGroup)) >= maxSpread {
		return nil, refuse(http.StatusUnprocessableEntity, "placement_error", "an error during the placement occurred")
	}
	for _, id := range in.Networks {
		if err := c.attach(v, id, place{}); err != nil {
			return nil, err
		}
	}
	return v, c.giveAddresses(v, in)
}

// orderedKind finds the type, location and image that were asked for.
func (c *call) orderedKind(in newServer) (kind serverType, where location, image schema.Image, err error) {
	kind, ok := findType(in.ServerType)
	if !ok {
		return kind, where, image, invalid("server_type", "server type not found")
	}
	image, ok = findImage(in.Image, kind.architecture)
	if !ok {
		return kind, where, image, invalid("image", "image not found for architecture %s", kind.architecture)
	}
	if in.Location == "" {
		in.Location = kind.locations[0]
	}
	where, ok = findLocation(in.Location)
	if !ok {
		return kind, where, image, invalid("location", "location not found")
	}
	if !slices.Contains(kind.locations, where.name) || c.gone([2]string{kind.name, where.name}) {
		return kind, where, image, invalid("server_type", "unsupported location for server type")
	}
	return kind, where, image, nil
}

// knowsReferences refuses references to what the project does not have.
func (c *call) knowsReferences(in newServer) error {
	for _, k := range in.SSHKeys {
		if !slices.ContainsFunc(c.p.keys, func(have *sshKey) bool { return have.id == k.ID || k.ID == 0 && have.name == k.Name }) {
			return refuse(http.StatusNotFound, "not_found", "SSH key not found")
		}
	}
	for _, f := range in.Firewalls {
		if _, err := c.p.firewalls.get("firewall", f.Firewall); err != nil {
			return err
		}
	}
	if in.PlacementGroup != 0 {
		if _, err := c.p.placements.get("placement group", in.PlacementGroup); err != nil {
			return err
		}
	}
	return nil
}

// giveAddresses gives v the public addresses that were asked for, both by default.
func (c *call) giveAddresses(v *server, in newServer) error {
	want4, want6 := true, true
	if n := in.PublicNet; n != nil {
		if n.IPv4 != nil || n.IPv6 != nil {
			return refuse(http.StatusNotFound, "not_found", "primary IP not found")
		}
		want4 = n.EnableIPv4 == nil || *n.EnableIPv4
		want6 = n.EnableIPv6 == nil || *n.EnableIPv6
	}
	if !want4 && !want6 && len(in.Networks) == 0 && (in.StartAfterCreate == nil || *in.StartAfterCreate) {
		return invalid("public_net", "a server without public addresses needs a network")
	}
	if want4 {
		ip, ok := c.freeIPv4()
		if !ok {
			return refuse(http.StatusPreconditionFailed, "resource_unavailable", "no IPv4 address is available")
		}
		v.ipv4, v.ipv4ID = ip, c.newID()
	}
	if want6 {
		v.ipv6, v.ipv6ID = c.freeIPv6(), c.newID()
	}
	return nil
}
