package main

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/middleware/schema"
	pschema "github.com/pulumi/pulumi/pkg/v3/codegen/schema"
)

// GetSshKey is the function hcloud:index/getSshKey:getSshKey.
type GetSshKey struct{}

// GetSshKeyArgs say which key is looked for: exactly one of them.
type GetSshKeyArgs struct {
	Id           *int    `pulumi:"id,optional"`
	Name         *string `pulumi:"name,optional"`
	Fingerprint  *string `pulumi:"fingerprint,optional"`
	WithSelector *string `pulumi:"withSelector,optional"`
}

// GetSshKeyResult is the key that was found.
type GetSshKeyResult struct {
	Id           int               `pulumi:"id"`
	Name         string            `pulumi:"name"`
	Fingerprint  string            `pulumi:"fingerprint"`
	PublicKey    string            `pulumi:"publicKey"`
	Labels       map[string]string `pulumi:"labels"`
	WithSelector *string           `pulumi:"withSelector,optional"`
}

// lookup is the function with a schema of its own: infer refuses to describe a property
// called id, which the vendor's has.
type lookup struct{ infer.InferredFunction }

// GetSchema describes the function.
func (lookup) GetSchema(schema.RegisterDerivativeType) (pschema.FunctionSpec, error) {
	property := func(kind string) pschema.PropertySpec {
		return pschema.PropertySpec{TypeSpec: pschema.TypeSpec{Type: kind}}
	}
	inputs := map[string]pschema.PropertySpec{
		"id": property("integer"), "name": property("string"), "fingerprint": property("string"), "withSelector": property("string"),
	}
	outputs := maps.Clone(inputs)
	outputs["publicKey"] = property("string")
	outputs["labels"] = pschema.PropertySpec{
		TypeSpec: pschema.TypeSpec{Type: "object", AdditionalProperties: &pschema.TypeSpec{Type: "string"}},
	}
	return pschema.FunctionSpec{
		Inputs:  &pschema.ObjectTypeSpec{Type: "object", Properties: inputs},
		Outputs: &pschema.ObjectTypeSpec{Type: "object", Properties: outputs, Required: []string{"id", "name", "fingerprint", "publicKey", "labels"}},
	}, nil
}

// Annotate gives the function the vendor's token.
func (g *GetSshKey) Annotate(a infer.Annotator) { a.SetToken("index/getSshKey", "getSshKey") }

// Invoke looks the key up.
func (g *GetSshKey) Invoke(ctx context.Context, req infer.FunctionRequest[GetSshKeyArgs]) (infer.FunctionResponse[GetSshKeyResult], error) {
	in := req.Input
	c := client(ctx)
	var key *hcloud.SSHKey
	var err error
	switch {
	case in.Id != nil:
		key, _, err = c.SSHKey.GetByID(ctx, int64(*in.Id))
	case in.Name != nil:
		key, _, err = c.SSHKey.GetByName(ctx, *in.Name)
	case in.Fingerprint != nil:
		key, _, err = c.SSHKey.GetByFingerprint(ctx, *in.Fingerprint)
	case in.WithSelector != nil:
		var keys []*hcloud.SSHKey
		keys, err = c.SSHKey.AllWithOpts(ctx, hcloud.SSHKeyListOpts{ListOpts: hcloud.ListOpts{LabelSelector: *in.WithSelector}})
		if len(keys) > 1 {
			err = fmt.Errorf("more than one SSH key matches %s", *in.WithSelector)
		}
		if len(keys) == 1 {
			key = keys[0]
		}
	default:
		err = errors.New("getSshKey: one of id, name, fingerprint and withSelector is needed")
	}
	if err == nil && key == nil {
		err = fmt.Errorf("no SSH key found with id %d, name %q, fingerprint %q", value(in.Id), value(in.Name), value(in.Fingerprint))
	}
	if err != nil {
		return infer.FunctionResponse[GetSshKeyResult]{}, err
	}
	return infer.FunctionResponse[GetSshKeyResult]{Output: GetSshKeyResult{
		Id: int(key.ID), Name: key.Name, Fingerprint: key.Fingerprint, PublicKey: key.PublicKey, Labels: labelsOrNone(key.Labels), WithSelector: in.WithSelector,
	}}, nil
}
