package main

import (
	"strconv"

	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/middleware/schema"
	pschema "github.com/pulumi/pulumi/pkg/v3/codegen/schema"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// The vendor's types have numbers where a resource refers to another, though an ID is text
// everywhere in Pulumi, and a YAML program has no means to turn it into a number. This
// plugin takes both: https://github.com/pulumi/pulumi-yaml/issues/1073.

// references are the inputs that hold IDs of other resources.
var references = []string{"networkId", "placementGroupId", "firewallIds"}

// A referring resource says in its schema that references may be text.
type referring struct{ infer.InferredResource }

// GetSchema describes the resource.
func (r referring) GetSchema(register schema.RegisterDerivativeType) (pschema.ResourceSpec, error) {
	spec, err := r.InferredResource.GetSchema(func(token tokens.Type, typ pschema.ComplexTypeSpec) bool {
		relax(typ.Properties)
		return register(token, typ)
	})
	relax(spec.InputProperties)
	return spec, err
}

func relax(properties map[string]pschema.PropertySpec) {
	either := pschema.TypeSpec{OneOf: []pschema.TypeSpec{{Type: "integer"}, {Type: "string"}}}
	for _, name := range references {
		spec, ok := properties[name]
		switch {
		case !ok:
		case spec.Type == "array":
			spec.Items = &either
		default:
			spec.TypeSpec = either
		}
		if ok {
			properties[name] = spec
		}
	}
}

// numbers returns the inputs with references as numbers. What is no number is left as it
// is, for whoever decodes it to complain of.
func numbers(inputs property.Map) property.Map {
	for _, name := range references {
		if v, ok := inputs.GetOk(name); ok {
			inputs = inputs.Set(name, asNumber(v))
		}
	}
	if v, ok := inputs.GetOk("networks"); ok && v.IsArray() {
		var list []property.Value
		for _, n := range v.AsArray().All {
			if n.IsMap() {
				n = property.WithGoValue(n, numbers(n.AsMap()))
			}
			list = append(list, n)
		}
		inputs = inputs.Set("networks", property.WithGoValue(v, property.NewArray(list)))
	}
	return inputs
}

func asNumber(v property.Value) property.Value {
	switch {
	case v.IsString():
		if n, err := strconv.ParseInt(v.AsString(), 10, 64); err == nil {
			return property.WithGoValue(v, float64(n))
		}
	case v.IsArray():
		var list []property.Value
		for _, item := range v.AsArray().All {
			list = append(list, asNumber(item))
		}
		return property.WithGoValue(v, property.NewArray(list))
	}
	return v
}
