package hetzner

import (
	"fmt"
	"slices"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// offer sorts the places of an order into those that can be tried and the others, and says
// whether some of these are expected to come back. What is not known, such as the type that
// a program takes by itself, stands in nobody's way.
func (c *catalogue) offer(j provision.Job, o provision.Order, now time.Time) (offer provision.Offer, anyPassing bool) {
	zone := c.zone
	for _, place := range o.Places() {
		reason, passing := c.lacks(place, now)
		its := c.zoneOf(place)
		switch {
		case reason != "":
		case j.Dedicated && zone != "" && its != "" && its != zone:
			reason, passing = fmt.Sprintf("in network zone %s, and the tenant's servers are in %s", its, zone), false
		default:
			if zone == "" {
				zone = its
			}
			offer.Places = append(offer.Places, place)
			for _, w := range c.deprecations(place) {
				if !slices.Contains(offer.Warnings, w) {
					offer.Warnings = append(offer.Warnings, w)
				}
			}
			continue
		}
		anyPassing = anyPassing || passing
		offer.Skipped = append(offer.Skipped, fmt.Sprintf("%s (%s)", place, reason))
		if passing && len(offer.Places) == 0 {
			offer.Warnings = append(offer.Warnings, fmt.Sprintf("%s is left out: %s", place, reason))
		}
	}
	return offer, anyPassing
}

func (c *catalogue) zoneOf(place provision.Place) hcloud.NetworkZone {
	if l := c.locations[place.Location]; l != nil {
		return l.NetworkZone
	}
	return ""
}

// lacks says why nothing is to be had at a place; "" if it is. passing is whether that is
// expected to change.
func (c *catalogue) lacks(place provision.Place, now time.Time) (reason string, passing bool) {
	for _, name := range place.Types() {
		t := c.types[name]
		if t == nil || place.Location == "" || len(t.Locations) == 0 {
			continue
		}
		at := soldAt(t, place.Location)
		switch {
		case at == nil:
			return name + " is not sold there", false
		case at.IsDeprecated() && !now.Before(at.UnavailableAfter()):
			return name + " is not sold there any more", false
		case !at.Available:
			return name + " is not available there at the moment", true
		}
	}
	return "", false
}

// deprecations warns of types that will not be sold much longer at a place.
func (c *catalogue) deprecations(place provision.Place) []string {
	var list []string
	for _, name := range place.Types() {
		if t := c.types[name]; t != nil {
			if at := soldAt(t, place.Location); at != nil && at.IsDeprecated() {
				list = append(list, fmt.Sprintf("server type %s is deprecated at %s, and not sold there after %s",
					name, place.Location, at.UnavailableAfter().Format(time.DateOnly)))
			}
		}
	}
	return list
}

// soldAt returns what is to be known of a type at a location; nil if it is not sold there.
func soldAt(t *hcloud.ServerType, location string) *hcloud.ServerTypeLocation {
	i := slices.IndexFunc(t.Locations, func(l hcloud.ServerTypeLocation) bool { return l.Location != nil && l.Location.Name == location })
	if i < 0 {
		return nil
	}
	return &t.Locations[i]
}
