package hetzner

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A catalogue is what Hetzner says about the names in an order. A name that it does not
// know is there, as nil.
type catalogue struct {
	p         *Project
	types     map[string]*hcloud.ServerType
	locations map[string]*hcloud.Location
	images    map[hcloud.Architecture]*hcloud.Image // those of the types
	key       *hcloud.SSHKey
	zone      hcloud.NetworkZone // where a dedicated tenant's network is; empty if it has none
}

// catalogue asks about all names of the order at the same time.
func (p *Project) catalogue(ctx context.Context, j provision.Job, o provision.Order) (*catalogue, error) {
	c := &catalogue{p: p, types: map[string]*hcloud.ServerType{}, locations: map[string]*hcloud.Location{},
		images: map[hcloud.Architecture]*hcloud.Image{}}
	var mu sync.Mutex
	var errs []error
	var asked sync.WaitGroup
	ask := func(question func() (store func(), err error)) {
		asked.Go(func() {
			store, err := question()
			mu.Lock()
			defer mu.Unlock()
			if errs = append(errs, err); err == nil {
				store()
			}
		})
	}
	for _, name := range typesOf(o.Places()) {
		ask(func() (func(), error) {
			v, err := get(ctx, p, "look for server type "+name, func(ctx context.Context, c *hcloud.Client) (*hcloud.ServerType, error) {
				return firstOf(c.ServerType.GetByName(ctx, name))
			})
			return func() { c.types[name] = v }, err
		})
	}
	for _, name := range o.Locations {
		ask(func() (func(), error) {
			v, err := get(ctx, p, "look for location "+name, func(ctx context.Context, c *hcloud.Client) (*hcloud.Location, error) {
				return firstOf(c.Location.GetByName(ctx, name))
			})
			return func() { c.locations[name] = v }, err
		})
	}
	if o.SSHKey != "" {
		ask(func() (func(), error) {
			v, err := get(ctx, p, "look for SSH key "+o.SSHKey, func(ctx context.Context, c *hcloud.Client) (*hcloud.SSHKey, error) {
				return firstOf(c.SSHKey.Get(ctx, o.SSHKey))
			})
			return func() { c.key = v }, err
		})
	}
	if j.Dedicated && len(o.Locations) > 1 {
		ask(func() (func(), error) {
			zone, err := p.networkZone(ctx, j)
			return func() { c.zone = zone }, err
		})
	}
	asked.Wait()
	if err := provision.Join(errs...); err != nil || o.Image == "" {
		return c, err
	}
	return c, c.askImages(ctx, o.Image)
}

// askImages asks for the image on each architecture that the types have.
func (c *catalogue) askImages(ctx context.Context, name string) error {
	for _, t := range c.types {
		if t == nil || c.images[t.Architecture] != nil {
			continue
		}
		v, err := get(ctx, c.p, "look for image "+name, func(ctx context.Context, client *hcloud.Client) (*hcloud.Image, error) {
			return firstOf(client.Image.GetForArchitecture(ctx, name, t.Architecture))
		})
		if err != nil {
			return err
		}
		c.images[t.Architecture] = v
	}
	return nil
}

// networkZone returns where the tenant's network is: its servers have to be there too.
func (p *Project) networkZone(ctx context.Context, j provision.Job) (hcloud.NetworkZone, error) {
	list, err := get(ctx, p, "look for the tenant's network", func(ctx context.Context, c *hcloud.Client) ([]*hcloud.Network, error) {
		return c.Network.AllWithOpts(ctx, hcloud.NetworkListOpts{ListOpts: hcloud.ListOpts{LabelSelector: tenantSelector(j)}})
	})
	for _, n := range list {
		if len(n.Subnets) > 0 { // they are all of one zone
			return n.Subnets[0].NetworkZone, nil
		}
	}
	return "", err
}

// typesOf returns the types that the places name, each once, sorted.
func typesOf(places []provision.Place) []string {
	names := map[string]bool{}
	for _, place := range places {
		for _, t := range place.Types() {
			names[t] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
