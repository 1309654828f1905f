package hetzner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// Preflight says what Hetzner has to give of an order for j at the moment, and changes
// nothing. It refuses a token that it does not take, with write also one that may only read,
// and an order that cannot be filled: a type, location, image or SSH key that there is not,
// a location of another region, and as [provision.NoCapacity] one of which nothing is to be
// had. While the job has servers already nothing but the token is refused.
//
// How much room a project's limits leave cannot be asked for: Hetzner shows them to people
// alone, and says that one is reached when something is made.
func (p *Project) Preflight(ctx context.Context, j provision.Job, o provision.Order, write bool) (provision.Offer, error) {
	if write {
		if err := p.mayWrite(ctx); err != nil {
			return provision.Offer{}, err
		}
	}
	made, err := p.madeFor(ctx, j)
	if err != nil {
		return provision.Offer{}, err
	}
	c, err := p.catalogue(ctx, j, o)
	if err != nil {
		return provision.Offer{}, err
	}
	offer, passing := c.offer(j, o, time.Now())
	err = c.refusal(j, o, offer, passing)
	if made > 0 && (err != nil || len(offer.Places) == 0) {
		// Perhaps nothing is left to be made; if something is, Hetzner will say it again.
		return provision.Offer{Places: o.Places()}, nil
	}
	return offer, err
}

// mayWrite refuses a token that may only read. It asks with a request that can never be
// carried out, since a placement group has to have a name and a type: Hetzner looks at the
// token before it looks at the body, and answers token_readonly, or else invalid_input. What
// else it may have against the request, such as a limit, is nothing against the token.
// https://docs.hetzner.cloud/reference/cloud#errors
func (p *Project) mayWrite(ctx context.Context) error {
	_, err := get(ctx, p, "ask whether the token may write", func(ctx context.Context, c *hcloud.Client) (*hcloud.Response, error) {
		req, err := c.NewRequest(ctx, "POST", "/placement_groups", strings.NewReader("{}"))
		if err != nil {
			return nil, err
		}
		return c.Do(req, nil)
	})
	switch provision.ClassOf(err) {
	case provision.Denied, provision.Busy, provision.Cancelled:
		return err
	}
	return nil
}

// madeFor counts the servers that carry the marks of j: on a dedicated stack the tenant's,
// which another job may have made.
func (p *Project) madeFor(ctx context.Context, j provision.Job) (int, error) {
	selector := "job_id=" + provision.LabelValue(j.ID)
	if j.Dedicated {
		selector = tenantSelector(j) + ",!node_key" // which a server has that it shares with others
	}
	list, err := get(ctx, p, "look for the job's servers", func(ctx context.Context, c *hcloud.Client) ([]*hcloud.Server, error) {
		return c.Server.AllWithOpts(ctx, hcloud.ServerListOpts{ListOpts: hcloud.ListOpts{LabelSelector: selector}})
	})
	return len(list), err
}

func tenantSelector(j provision.Job) string {
	return tenantLabel + "=" + provision.LabelValue(j.TenantID)
}

// refusal says what of an order can never be, and as NoCapacity that there is nothing at
// the moment, if that is passing; nil if servers are to be had.
func (c *catalogue) refusal(j provision.Job, o provision.Order, offer provision.Offer, passing bool) error {
	var errs []error
	wrong := func(class provision.Class, next, format string, args ...any) {
		errs = append(errs, &provision.Error{Class: class, Text: fmt.Sprintf(format, args...), Next: next})
	}
	for _, name := range slices.Sorted(maps.Keys(c.types)) {
		t := c.types[name]
		if t == nil {
			wrong(provision.Invalid, "correct the server_type inputs: https://docs.hetzner.com/cloud/servers/overview", "Hetzner has no server type %s", name)
		} else if o.Image != "" && c.images[t.Architecture] == nil {
			wrong(provision.Invalid, "correct server_image", "Hetzner has no image %s for the architecture %s of server type %s", o.Image, t.Architecture, name)
		}
	}
	allowed := c.p.locations()[j.Region]
	for _, name := range o.Locations {
		if c.locations[name] == nil {
			wrong(provision.Invalid, "correct server_location: https://docs.hetzner.com/cloud/general/locations", "Hetzner has no location %s", name)
		} else if !slices.Contains(allowed, name) {
			wrong(provision.Invalid, "correct server_location", "location %s is not in region %s, which has %s", name, j.Region, strings.Join(allowed, ", "))
		}
	}
	if o.SSHKey != "" && c.key == nil {
		wrong(provision.NotFound, "add the key to the project at Hetzner, or correct ssh_key_name", "the Hetzner project has no SSH key %s", o.SSHKey)
	}
	if len(errs) == 0 && len(offer.Places) == 0 && len(offer.Skipped) > 0 {
		class, next := provision.Invalid, "name a location in server_location and a type in server_type that is sold there"
		if passing {
			class, next = provision.NoCapacity, "add a location to server_location or a type to server_type, or run the same job again later"
		}
		wrong(class, next, "Hetzner has none of the servers that may be taken: %s", strings.Join(offer.Skipped, ", "))
	}
	return provision.Join(errs...)
}
