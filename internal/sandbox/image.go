package sandbox

import (
	"os/exec"
	"strings"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/toolchain"
)

// needs are the tools that the action takes from the machine: none, where its image has them.
func (o Options) needs() []toolchain.Tool {
	switch {
	case o.Image != "":
		return []toolchain.Tool{}
	case o.PulumiRepo != "":
		return []toolchain.Tool{toolchain.Pulumi, toolchain.Provider, toolchain.YAML}
	}
	return []toolchain.Tool{toolchain.Pulumi, toolchain.Provider}
}

// container returns how the image is run; nil where there is none. Besides what the runner
// mounts there is what is a folder here, and elsewhere a service of somebody's: Pulumi's
// state, and a repository.
func (o Options) container(state string) (*github.Container, error) {
	if o.Image == "" {
		return nil, nil
	}
	for _, name := range []string{"podman", "docker"} {
		if _, err := exec.LookPath(name); err == nil && o.Engine == "" {
			o.Engine = name
		}
	}
	if o.Engine == "" {
		return nil, &provision.Error{Class: provision.Invalid, Text: "there is neither podman nor docker on PATH to run the image with",
			Next: "install one, or name another with --engine"}
	}
	mounts := []string{"--volume", state + ":" + state}
	if repo, ok := strings.CutPrefix(o.PulumiRepo, "file://"); ok {
		mounts = append(mounts, "--volume", repo+":"+repo+":ro")
	}
	return &github.Container{Engine: o.Engine, Image: o.Image, Args: mounts}, nil
}

// actionEnv is what the action's process gets of ours. A container gets nothing.
func (s *Sandbox) actionEnv(o Options, tools toolchain.Tools) []string {
	if o.Image != "" {
		return nil
	}
	return []string{"PATH=" + s.path, "PULUMI_VERSION=" + tools.PulumiVersion}
}
