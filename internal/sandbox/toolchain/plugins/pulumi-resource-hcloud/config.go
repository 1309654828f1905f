package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// A Config is the provider's configuration. What a program leaves out is taken from the
// environment: HCLOUD_TOKEN, HCLOUD_ENDPOINT, HCLOUD_POLL_INTERVAL.
type Config struct {
	Token        *string `pulumi:"token,optional" provider:"secret"`
	Endpoint     *string `pulumi:"endpoint,optional"`
	PollInterval *string `pulumi:"pollInterval,optional"` // as Go writes a duration: "500ms"

	client *hcloud.Client
}

// Configure makes the client.
func (c *Config) Configure(context.Context) error {
	token := cmp.Or(value(c.Token), os.Getenv("HCLOUD_TOKEN"))
	if token == "" {
		return errors.New("missing required configuration key hcloud:token (or the environment variable HCLOUD_TOKEN)")
	}
	every, err := time.ParseDuration(cmp.Or(value(c.PollInterval), os.Getenv("HCLOUD_POLL_INTERVAL"), "500ms"))
	if err != nil {
		return fmt.Errorf("hcloud:pollInterval: %w", err)
	}
	options := []hcloud.ClientOption{
		hcloud.WithToken(token),
		hcloud.WithApplication("pulumi-resource-hcloud", version),
		hcloud.WithPollOpts(hcloud.PollOpts{BackoffFunc: hcloud.ConstantBackoff(every)}),
	}
	if endpoint := cmp.Or(value(c.Endpoint), os.Getenv("HCLOUD_ENDPOINT")); endpoint != "" {
		options = append(options, hcloud.WithEndpoint(endpoint))
	}
	c.client = hcloud.NewClient(options...)
	return nil
}

func client(ctx context.Context) *hcloud.Client { return infer.GetConfig[*Config](ctx).client }

// value is what p points at; zero for nil.
func value[T any](p *T) T {
	var v T
	if p != nil {
		v = *p
	}
	return v
}

// number reads an ID, which Pulumi keeps as text.
func number(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not an ID: it has to be a number", id)
	}
	return n, nil
}

func text(id int64) string { return strconv.FormatInt(id, 10) }

// gone reports whether err says that the thing does not exist. For what is to be deleted,
// that is as good.
func gone(err error) bool { return hcloud.IsError(err, hcloud.ErrorCodeNotFound) }

// checkNamed checks the inputs of a resource with a name. One that the program leaves out
// is made of the resource's own, and kept from then on.
func checkNamed[Args any](ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[Args], error) {
	inputs := req.NewInputs
	if _, named := inputs.GetOk("name"); !named {
		name, known := req.OldInputs.GetOk("name")
		if !known {
			var random [4]byte
			rand.Read(random[:])
			name = property.New(req.Name + "-" + hex.EncodeToString(random[:])[:7])
		}
		inputs = inputs.Set("name", name)
	}
	args, failures, err := infer.DefaultCheck[Args](ctx, inputs)
	return infer.CheckResponse[Args]{Inputs: args, Failures: failures}, err
}

// keptLabels is what labels a read resource has as an input: those that the program set,
// with the values of today. All of them if it was imported, for then there is no program yet.
func keptLabels(program, remote map[string]string, imported bool) map[string]string {
	if imported {
		return remote
	}
	kept := maps.Clone(program)
	maps.DeleteFunc(kept, func(k, _ string) bool { _, ok := remote[k]; return !ok })
	for k := range kept {
		kept[k] = remote[k]
	}
	return kept
}

// labelsOrNone never is nil: the API keeps the labels where none are sent.
func labelsOrNone(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return labels
}
