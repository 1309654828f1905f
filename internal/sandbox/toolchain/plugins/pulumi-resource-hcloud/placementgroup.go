package main

import (
	"context"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// A PlacementGroup is hcloud:index/placementGroup:PlacementGroup.
type PlacementGroup struct{}

// PlacementGroupArgs are a placement group's inputs.
type PlacementGroupArgs struct {
	Name   *string           `pulumi:"name,optional"`
	Type   string            `pulumi:"type" provider:"replaceOnChanges"` // "spread"
	Labels map[string]string `pulumi:"labels,optional"`
}

// PlacementGroupState is what is known of a placement group.
type PlacementGroupState struct {
	PlacementGroupArgs
	Servers []int `pulumi:"servers"`
}

// Annotate gives the type the vendor's token.
func (g *PlacementGroup) Annotate(a infer.Annotator) {
	a.SetToken("index/placementGroup", "PlacementGroup")
}

// Check gives the group a name where the program does not.
func (g *PlacementGroup) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[PlacementGroupArgs], error) {
	return checkNamed[PlacementGroupArgs](ctx, req)
}

// Create makes the group.
func (g *PlacementGroup) Create(ctx context.Context, req infer.CreateRequest[PlacementGroupArgs]) (infer.CreateResponse[PlacementGroupState], error) {
	in := req.Inputs
	resp := infer.CreateResponse[PlacementGroupState]{Output: PlacementGroupState{in, []int{}}}
	if req.DryRun {
		return resp, nil
	}
	c := client(ctx)
	made, _, err := c.PlacementGroup.Create(ctx, hcloud.PlacementGroupCreateOpts{
		Name: value(in.Name), Type: hcloud.PlacementGroupType(in.Type), Labels: in.Labels,
	})
	if err != nil {
		return resp, err
	}
	resp.ID = text(made.PlacementGroup.ID)
	if err := c.Action.WaitFor(ctx, made.Action); err != nil {
		return resp, infer.ResourceInitFailedError{Reasons: []string{err.Error()}}
	}
	return resp, nil
}

// Read finds out what the group is now.
func (g *PlacementGroup) Read(ctx context.Context, req infer.ReadRequest[PlacementGroupArgs, PlacementGroupState]) (infer.ReadResponse[PlacementGroupArgs, PlacementGroupState], error) {
	id, err := number(req.ID)
	if err != nil {
		return infer.ReadResponse[PlacementGroupArgs, PlacementGroupState]{}, err
	}
	have, _, err := client(ctx).PlacementGroup.GetByID(ctx, id)
	if err != nil || have == nil {
		return infer.ReadResponse[PlacementGroupArgs, PlacementGroupState]{}, err
	}
	in := PlacementGroupArgs{Name: &have.Name, Type: string(have.Type), Labels: keptLabels(req.Inputs.Labels, have.Labels, req.Inputs.Type == "")}
	servers := []int{}
	for _, id := range have.Servers {
		servers = append(servers, int(id))
	}
	return infer.ReadResponse[PlacementGroupArgs, PlacementGroupState]{ID: req.ID, Inputs: in, State: PlacementGroupState{in, servers}}, nil
}

// Update changes the group in place.
func (g *PlacementGroup) Update(ctx context.Context, req infer.UpdateRequest[PlacementGroupArgs, PlacementGroupState]) (infer.UpdateResponse[PlacementGroupState], error) {
	resp := infer.UpdateResponse[PlacementGroupState]{Output: PlacementGroupState{req.Inputs, req.State.Servers}}
	id, err := number(req.ID)
	if err != nil || req.DryRun {
		return resp, err
	}
	_, _, err = client(ctx).PlacementGroup.Update(ctx, &hcloud.PlacementGroup{ID: id}, hcloud.PlacementGroupUpdateOpts{
		Name: value(req.Inputs.Name), Labels: labelsOrNone(req.Inputs.Labels),
	})
	return resp, err
}

// Delete deletes the group.
func (g *PlacementGroup) Delete(ctx context.Context, req infer.DeleteRequest[PlacementGroupState]) (infer.DeleteResponse, error) {
	id, err := number(req.ID)
	if err == nil {
		_, err = client(ctx).PlacementGroup.Delete(ctx, &hcloud.PlacementGroup{ID: id})
	}
	if gone(err) {
		err = nil
	}
	return infer.DeleteResponse{}, err
}
