package hetzner

import (
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud/schema"
)

// A server is a machine.
type server struct {
	base
	location       string
	serverType     string
	image          schema.Image
	ipv4, ipv6     string // empty for none
	ipv4ID, ipv6ID int64
	privateNets    []schema.ServerPrivateNet
	placementGroup int64 // 0 for none
	rebuildGuarded bool

	off       bool
	installed time.Time // when it has been installed
	booted    time.Time // when it has started; after installed
	failed    bool      // never gets installed
}

// status is what the machine is doing.
func (v *server) status(now time.Time) string {
	switch {
	case v.failed || now.Before(v.installed):
		return "initializing"
	case v.off:
		return "off"
	case now.Before(v.booted):
		return "starting"
	}
	return "running"
}

// A serverView is a server as the API shows it. Its public addresses can be null, which
// hcloud-go's own schema has no place for.
type serverView struct {
	schema.Server
	PublicNet publicNet `json:"public_net"`
}

type publicNet struct {
	IPv4        *schema.ServerPublicNetIPv4 `json:"ipv4"`
	IPv6        *schema.ServerPublicNetIPv6 `json:"ipv6"`
	FloatingIPs []int64                     `json:"floating_ips"`
	Firewalls   []schema.ServerFirewall     `json:"firewalls"`
}

func (c *call) showServer(v *server) any {
	now := c.opts.Now()
	var traffic uint64
	view := serverView{
		Server: schema.Server{
			ID: v.id, Name: v.name, Status: v.status(now), Created: v.created, Labels: v.labels,
			ServerType: c.showServerType(v.serverType), Location: locationNamed(v.location), Image: &v.image,
			PrivateNet:      append([]schema.ServerPrivateNet{}, v.privateNets...),
			Protection:      schema.ServerProtection{Delete: v.protected, Rebuild: v.rebuildGuarded},
			Locked:          c.locked(v.id),
			Volumes:         []int64{},
			LoadBalancers:   []int64{},
			PrimaryDiskSize: typeNamed(v.serverType).disk,
			IncludedTraffic: includedTraffic(v.location),
			OutgoingTraffic: &traffic, IngoingTraffic: &traffic,
		},
		PublicNet: publicNet{FloatingIPs: []int64{}, Firewalls: []schema.ServerFirewall{}},
	}
	if v.ipv4 != "" {
		view.PublicNet.IPv4 = &schema.ServerPublicNetIPv4{ID: v.ipv4ID, IP: v.ipv4, DNSPtr: "static." + v.ipv4 + ".clients.example.net"}
	}
	if v.ipv6 != "" {
		view.PublicNet.IPv6 = &schema.ServerPublicNetIPv6{ID: v.ipv6ID, IP: v.ipv6, DNSPtr: []schema.ServerPublicNetIPv6DNSPtr{}}
	}
	for _, f := range c.p.firewalls {
		if slices.Contains(f.applied(c.p), v.id) {
			view.PublicNet.Firewalls = append(view.PublicNet.Firewalls, schema.ServerFirewall{ID: f.id, Status: "applied"})
		}
	}
	if g, err := c.p.placements.get("placement group", v.placementGroup); err == nil {
		shown := c.showPlacementGroup(g).(schema.PlacementGroup)
		view.PlacementGroup = &shown
	}
	return view
}

// locked reports whether an action of the server is running: it takes no other then.
func (c *call) locked(id int64) bool {
	return slices.ContainsFunc(c.p.actions, func(a *action) bool {
		return a.resources[0] == schema.ActionResourceReference{ID: id, Type: "server"} && c.opts.Now().Before(a.ends)
	})
}

func serverRoutes(handle func(string, handler)) {
	handle("GET /v1/servers", func(c *call) (int, any, error) {
		servers := c.p.servers
		if wanted := c.r.URL.Query()["status"]; len(wanted) > 0 {
			servers = slices.DeleteFunc(slices.Clone(servers), func(v *server) bool {
				return !slices.Contains(wanted, v.status(c.opts.Now()))
			})
		}
		return servers.list(c, "servers", c.showServer)
	})
	handle("POST /v1/servers", createServer)
	handle("GET /v1/servers/{id}", func(c *call) (int, any, error) {
		v, err := c.p.servers.ofCall(c, "server")
		if err != nil {
			return 0, nil, err
		}
		return http.StatusOK, map[string]any{"server": c.showServer(v)}, nil
	})
	handle("PUT /v1/servers/{id}", func(c *call) (int, any, error) {
		v, err := c.p.servers.ofCall(c, "server")
		if err != nil {
			return 0, nil, err
		}
		before := v.name
		if err := c.p.servers.update(c, v, serverNameTaken); err != nil {
			return 0, nil, err
		}
		if !validHost(v.name) {
			bad := v.name
			v.name = before
			return 0, nil, invalid("name", "%q is not a valid hostname", bad)
		}
		return http.StatusOK, map[string]any{"server": c.showServer(v)}, nil
	})
	handle("DELETE /v1/servers/{id}", func(c *call) (int, any, error) {
		v, err := c.p.servers.ofCall(c, "server")
		switch {
		case err != nil:
			return 0, nil, err
		case v.protected:
			return 0, nil, refuse(http.StatusLocked, "protected", "server deletion is protected")
		case c.locked(v.id):
			return 0, nil, refuse(http.StatusLocked, "locked", "server is locked")
		}
		c.p.servers = c.p.servers.without(v.id)
		for _, f := range c.p.firewalls {
			f.remove(v.id)
		}
		return http.StatusOK, map[string]any{"action": c.start("delete_server", "server", v.id).show()}, nil
	})
}

const serverNameTaken = "server name is already used"

// hostLabel is a part of a name that RFC 1123 allows.
var hostLabel = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)

func validHost(name string) bool { return len(name) <= 253 && hostLabel.MatchString(name) }
