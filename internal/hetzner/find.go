package hetzner

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A thing is what is to be known of a resource to take it over.
type thing struct {
	id     string // as Pulumi has it
	labels map[string]string
}

// kinds are the resources that can be found by name, by Pulumi's type without "hcloud:index/".
func kinds() map[string]func(ctx context.Context, c *hcloud.Client, name string) (*thing, error) {
	return map[string]func(context.Context, *hcloud.Client, string) (*thing, error){
		"server:Server": func(ctx context.Context, c *hcloud.Client, name string) (*thing, error) {
			v, err := firstOf(c.Server.GetByName(ctx, name))
			if v == nil {
				return nil, err
			}
			return &thing{strconv.FormatInt(v.ID, 10), v.Labels}, nil
		},
		"network:Network": func(ctx context.Context, c *hcloud.Client, name string) (*thing, error) {
			v, err := firstOf(c.Network.GetByName(ctx, name))
			if v == nil {
				return nil, err
			}
			return &thing{strconv.FormatInt(v.ID, 10), v.Labels}, nil
		},
		"firewall:Firewall": func(ctx context.Context, c *hcloud.Client, name string) (*thing, error) {
			v, err := firstOf(c.Firewall.GetByName(ctx, name))
			if v == nil {
				return nil, err
			}
			return &thing{strconv.FormatInt(v.ID, 10), v.Labels}, nil
		},
		"placementGroup:PlacementGroup": func(ctx context.Context, c *hcloud.Client, name string) (*thing, error) {
			v, err := firstOf(c.PlacementGroup.GetByName(ctx, name))
			if v == nil {
				return nil, err
			}
			return &thing{strconv.FormatInt(v.ID, 10), v.Labels}, nil
		},
		"sshKey:SshKey": func(ctx context.Context, c *hcloud.Client, name string) (*thing, error) {
			v, err := firstOf(c.SSHKey.GetByName(ctx, name))
			if v == nil {
				return nil, err
			}
			return &thing{strconv.FormatInt(v.ID, 10), v.Labels}, nil
		},
	}
}

// firstOf drops the response of hcloud-go's answers.
func firstOf[T any](v *T, _ *hcloud.Response, err error) (*T, error) { return v, err }

// Find looks for a resource that an update may have made without living to record it. typ
// is Pulumi's type, such as "hcloud:index/server:Server"; inputs are what the provider got,
// whose "name" is the name at Hetzner; where they have none, name is. id is as Pulumi has
// it. What exists under that name without the label managed-by=prego, or with another
// tenant_id or job_id than inputs have, is a [provision.Conflict]. A type that this package
// does not know is never found.
func (p *Project) Find(ctx context.Context, typ, name string, inputs map[string]any) (id string, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	kind, ours := strings.CutPrefix(typ, "hcloud:index/")
	if ours && kind == "networkSubnet:NetworkSubnet" {
		return p.findSubnet(ctx, inputs)
	}
	look, known := kinds()[kind]
	if !ours || !known {
		return "", false, nil
	}
	if n, ok := inputs["name"].(string); ok && n != "" {
		name = n
	}
	_, short, _ := strings.Cut(kind, ":")
	have, err := get(ctx, p, fmt.Sprintf("look for %s %s", short, name), func(ctx context.Context, c *hcloud.Client) (*thing, error) {
		return look(ctx, c, name)
	})
	if err != nil || have == nil {
		return "", false, err
	}
	if err := owned(short, name, have.id, have.labels, inputs); err != nil {
		return "", false, err
	}
	return have.id, true, nil
}

// findSubnet looks for a subnet by its network and range. It has no labels: it is ours if
// the network is.
func (p *Project) findSubnet(ctx context.Context, inputs map[string]any) (id string, found bool, err error) {
	network, ok := asID(inputs["networkId"])
	text, _ := inputs["ipRange"].(string)
	ipRange, err := netip.ParsePrefix(text)
	if !ok || err != nil {
		return "", false, provision.Errorf(provision.Invalid, "look for NetworkSubnet: networkId %v or ipRange %q is none", inputs["networkId"], text)
	}
	n, err := get(ctx, p, fmt.Sprintf("look for subnet %s of network %d", ipRange, network), func(ctx context.Context, c *hcloud.Client) (*hcloud.Network, error) {
		return firstOf(c.Network.GetByID(ctx, network))
	})
	if err != nil || n == nil {
		return "", false, err
	}
	for _, s := range n.Subnets {
		if s.IPRange != nil && s.IPRange.String() == ipRange.Masked().String() {
			if err := owned("Network", n.Name, strconv.FormatInt(n.ID, 10), n.Labels, nil); err != nil {
				return "", false, err
			}
			return fmt.Sprintf("%d-%s", n.ID, s.IPRange), true, nil
		}
	}
	return "", false, nil
}

// asID reads a number as a Pulumi state has it: JSON's, or text.
func asID(v any) (int64, bool) {
	switch v := v.(type) {
	case float64:
		return int64(v), v > 0 && v == float64(int64(v))
	case int:
		return int64(v), v > 0
	case json.Number:
		id, err := v.Int64()
		return id, err == nil
	case string:
		id, err := strconv.ParseInt(v, 10, 64)
		return id, err == nil
	}
	return 0, false
}
