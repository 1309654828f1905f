// Pulumi-resource-hcloud is a small Pulumi provider for Hetzner Cloud, with the type tokens,
// property names and IDs of the vendor's: a program cannot tell them apart, as far as the
// resources go that it has; it takes IDs as text where the vendor's wants numbers. The vendor's plugin is not to be had as a Go module, and the
// sandbox has to work with what a Go toolchain can build; where the vendor's is installed,
// it is used.
//
// Each resource has a file. To add one, write it, and name it in provider. The names are
// those of github.com/pulumi/pulumi-hcloud/sdk.
package main

import (
	"context"
	"fmt"
	"os"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// version is the vendor's version whose names these are. Pulumi's SDK asks for it.
const version = "1.41.0"

func main() {
	provider, err := provider()
	if err == nil {
		err = p.RunProvider(context.Background(), "hcloud", version, provider)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-hcloud:", err)
		os.Exit(1)
	}
}

func provider() (p.Provider, error) {
	return infer.NewProviderBuilder().
		WithConfig(infer.Config(&Config{})).
		WithResources(
			referring{infer.Resource(&Server{})},
			infer.Resource(&Network{}),
			referring{infer.Resource(&NetworkSubnet{})},
			infer.Resource(&Firewall{}),
			infer.Resource(&PlacementGroup{}),
			infer.Resource(&SshKey{}),
		).
		WithFunctions(lookup{infer.Function(&GetSshKey{})}).
		Build()
}
