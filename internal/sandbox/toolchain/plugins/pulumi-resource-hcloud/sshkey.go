package main

import (
	"context"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// An SshKey is hcloud:index/sshKey:SshKey.
type SshKey struct{}

// SshKeyArgs are a key's inputs.
type SshKeyArgs struct {
	Name      *string           `pulumi:"name,optional"`
	PublicKey string            `pulumi:"publicKey" provider:"replaceOnChanges"`
	Labels    map[string]string `pulumi:"labels,optional"`
}

// SshKeyState is what is known of a key.
type SshKeyState struct {
	SshKeyArgs
	Fingerprint string `pulumi:"fingerprint"`
}

// Annotate gives the type the vendor's token.
func (k *SshKey) Annotate(a infer.Annotator) { a.SetToken("index/sshKey", "SshKey") }

// Check gives the key a name where the program does not.
func (k *SshKey) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[SshKeyArgs], error) {
	return checkNamed[SshKeyArgs](ctx, req)
}

// Create makes the key known.
func (k *SshKey) Create(ctx context.Context, req infer.CreateRequest[SshKeyArgs]) (infer.CreateResponse[SshKeyState], error) {
	in := req.Inputs
	resp := infer.CreateResponse[SshKeyState]{Output: SshKeyState{SshKeyArgs: in}}
	if req.DryRun {
		return resp, nil
	}
	made, _, err := client(ctx).SSHKey.Create(ctx, hcloud.SSHKeyCreateOpts{Name: value(in.Name), PublicKey: in.PublicKey, Labels: in.Labels})
	if err != nil {
		return resp, err
	}
	resp.ID = text(made.ID)
	resp.Output.Fingerprint = made.Fingerprint
	return resp, nil
}

// Read finds out what the key is now.
func (k *SshKey) Read(ctx context.Context, req infer.ReadRequest[SshKeyArgs, SshKeyState]) (infer.ReadResponse[SshKeyArgs, SshKeyState], error) {
	id, err := number(req.ID)
	if err != nil {
		return infer.ReadResponse[SshKeyArgs, SshKeyState]{}, err
	}
	have, _, err := client(ctx).SSHKey.GetByID(ctx, id)
	if err != nil || have == nil {
		return infer.ReadResponse[SshKeyArgs, SshKeyState]{}, err
	}
	in := SshKeyArgs{Name: &have.Name, PublicKey: have.PublicKey, Labels: keptLabels(req.Inputs.Labels, have.Labels, req.Inputs.PublicKey == "")}
	return infer.ReadResponse[SshKeyArgs, SshKeyState]{ID: req.ID, Inputs: in, State: SshKeyState{in, have.Fingerprint}}, nil
}

// Update changes the key's name and labels.
func (k *SshKey) Update(ctx context.Context, req infer.UpdateRequest[SshKeyArgs, SshKeyState]) (infer.UpdateResponse[SshKeyState], error) {
	resp := infer.UpdateResponse[SshKeyState]{Output: SshKeyState{req.Inputs, req.State.Fingerprint}}
	id, err := number(req.ID)
	if err != nil || req.DryRun {
		return resp, err
	}
	_, _, err = client(ctx).SSHKey.Update(ctx, &hcloud.SSHKey{ID: id}, hcloud.SSHKeyUpdateOpts{
		Name: value(req.Inputs.Name), Labels: labelsOrNone(req.Inputs.Labels),
	})
	return resp, err
}

// Delete makes the key unknown.
func (k *SshKey) Delete(ctx context.Context, req infer.DeleteRequest[SshKeyState]) (infer.DeleteResponse, error) {
	id, err := number(req.ID)
	if err == nil {
		_, err = client(ctx).SSHKey.Delete(ctx, &hcloud.SSHKey{ID: id})
	}
	if gone(err) {
		err = nil
	}
	return infer.DeleteResponse{}, err
}
