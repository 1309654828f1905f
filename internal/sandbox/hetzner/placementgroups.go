package hetzner

import (
	"net/http"

	"github.com/hetznercloud/hcloud-go/v2/hcloud/schema"
)

// maxSpread is how many servers a spread placement group takes.
// https://docs.hetzner.com/cloud/placement-groups/overview
const maxSpread = 10

// A placementGroup keeps its servers on different hosts.
type placementGroup struct{ base }

// membersOf returns the servers of a group.
func (c *call) membersOf(group int64) []int64 {
	ids := []int64{}
	for _, v := range c.p.servers {
		if v.placementGroup == group {
			ids = append(ids, v.id)
		}
	}
	return ids
}

func (c *call) showPlacementGroup(g *placementGroup) any {
	return schema.PlacementGroup{ID: g.id, Name: g.name, Labels: g.labels, Created: g.created, Type: "spread", Servers: c.membersOf(g.id)}
}

func placementGroupRoutes(handle func(string, handler)) {
	const taken = "placement group name is already used"
	show := func(c *call, g *placementGroup) (int, any, error) {
		return http.StatusOK, map[string]any{"placement_group": c.showPlacementGroup(g)}, nil
	}
	handle("GET /v1/placement_groups", func(c *call) (int, any, error) {
		return c.p.placements.list(c, "placement_groups", c.showPlacementGroup)
	})
	handle("POST /v1/placement_groups", func(c *call) (int, any, error) {
		var in schema.PlacementGroupCreateRequest
		if err := c.decode(&in); err != nil {
			return 0, nil, err
		}
		if in.Name == "" {
			return 0, nil, invalid("name", "must not be empty")
		}
		if in.Type != "spread" {
			return 0, nil, invalid("type", "must be spread")
		}
		if err := c.p.placements.free(in.Name, taken, 0); err != nil {
			return 0, nil, err
		}
		if err := checkLabels(in.Labels); err != nil {
			return 0, nil, err
		}
		g := &placementGroup{c.newBase(in.Name, in.Labels)}
		c.p.placements = append(c.p.placements, g)
		return http.StatusCreated, map[string]any{"placement_group": c.showPlacementGroup(g), "action": nil}, nil
	})
	handle("GET /v1/placement_groups/{id}", func(c *call) (int, any, error) {
		g, err := c.p.placements.ofCall(c, "placement group")
		if err != nil {
			return 0, nil, err
		}
		return show(c, g)
	})
	handle("PUT /v1/placement_groups/{id}", func(c *call) (int, any, error) {
		g, err := c.p.placements.ofCall(c, "placement group")
		if err != nil {
			return 0, nil, err
		}
		if err := c.p.placements.update(c, g, taken); err != nil {
			return 0, nil, err
		}
		return show(c, g)
	})
	handle("DELETE /v1/placement_groups/{id}", func(c *call) (int, any, error) {
		g, err := c.p.placements.ofCall(c, "placement group")
		if err != nil {
			return 0, nil, err
		}
		c.p.placements = c.p.placements.without(g.id)
		for _, v := range c.p.servers {
			if v.placementGroup == g.id {
				v.placementGroup = 0
			}
		}
		return http.StatusNoContent, nil, nil
	})
}
