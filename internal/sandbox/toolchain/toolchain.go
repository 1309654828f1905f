// Package toolchain finds or builds the programs that the sandbox needs beyond Go modules:
// the pulumi command and the plugins that Pulumi starts.
//
// What PATH has is taken, if it suits. The rest is built, once, into the user's cache
// directory, from modules that stand beside this file: pulumi has the command's, plugins
// has the language host for YAML programs and the provider of our own. They are modules of
// their own since each needs other versions of Pulumi's packages. To add a tool, name it in
// known, and its package in the go.mod of one of them.
//
// Everything in the cache directory can be deleted at any time; it is made again.
package toolchain

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Tool is the name of a program, as it is found on PATH.
type Tool string

// The tools.
const (
	Pulumi   Tool = "pulumi"
	YAML     Tool = "pulumi-language-yaml"   // runs programs that are written in YAML
	Provider Tool = "pulumi-resource-hcloud" // Hetzner's; the vendor's own where it is installed
)

// PulumiVersion is the version of pulumi that is built, and the oldest that is taken from
// PATH, but for older patches of the same minor version.
const PulumiVersion = "v3.253.0"

// Options say what is needed. The zero value is all tools.
type Options struct {
	// Need lists the tools; nil for all.
	Need []Tool
	// Progress is called, by one goroutine at a time, with a line for people when
	// something takes long; nil for silence.
	Progress func(string)
	// CacheDir is where what is built is kept; empty for provision-tenant/tools in the
	// user's cache directory.
	CacheDir string
	// Path is where installed tools are looked for, spelt like PATH; empty for PATH itself.
	Path string
	// Root is the checkout of the repository; empty for the one around the working directory.
	Root string
}

// Tools are the programs, ready to be run.
type Tools struct {
	// Dir holds every tool that was needed, under its own name. Put it first in PATH.
	Dir string
	// Pulumi is the command's path, in Dir, and PulumiVersion its version, with the v; both
	// empty if it was not needed.
	Pulumi        string
	PulumiVersion string
}

// Ensure returns the tools, building those that are neither installed nor in the cache. It
// takes milliseconds when there is nothing to build, and minutes when there is. Two that
// build at once build once. Cancelling ctx stops the build, and leaves no half of it.
func Ensure(ctx context.Context, o Options) (Tools, error) {
	if o.Need == nil {
		o.Need = []Tool{Pulumi, YAML, Provider}
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	o.Path = cmp.Or(o.Path, os.Getenv("PATH"))
	if o.CacheDir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return Tools{}, provision.Errorf(provision.Invalid, "no place for a cache: %w", err)
		}
		o.CacheDir = filepath.Join(user, "provision-tenant", "tools")
	}
	if err := os.MkdirAll(o.CacheDir, 0o755); err != nil {
		return Tools{}, provision.Errorf(provision.Internal, "cache directory: %w", err)
	}
	paths := map[Tool]string{}
	tools := Tools{}
	for _, t := range o.Need {
		path, version, err := ensure(ctx, o, t)
		if err != nil {
			return Tools{}, err
		}
		paths[t] = path
		if t == Pulumi {
			tools.PulumiVersion = version
		}
	}
	dir, err := gather(o.CacheDir, paths)
	if err != nil {
		return Tools{}, provision.Errorf(provision.Internal, "cache directory: %w", err)
	}
	tools.Dir = dir
	if _, ok := paths[Pulumi]; ok {
		tools.Pulumi = filepath.Join(dir, string(Pulumi))
	}
	return tools, nil
}

// ensure returns the path of one tool, and its version where that is known.
func ensure(ctx context.Context, o Options, t Tool) (path, version string, err error) {
	if path, version := installed(ctx, o, t); path != "" {
		return path, version, nil
	}
	p, ok := known()[t]
	if !ok {
		return "", "", provision.Errorf(provision.Invalid, "there is no tool %s", t)
	}
	if p.module, err = moduleDir(o.Root, p.module); err != nil {
		return "", "", err
	}
	path, err = build(ctx, o, t, p)
	return path, p.version, err
}

// gather returns a directory that has a link to each of the tools under its name.
func gather(cache string, paths map[Tool]string) (string, error) {
	var all []string
	for t, path := range paths {
		all = append(all, string(t)+" "+path)
	}
	slices.Sort(all)
	sum := sha256.Sum256([]byte(strings.Join(all, "\n")))
	dir := filepath.Join(cache, "set-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	fresh, err := os.MkdirTemp(cache, "new-set-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh) // unless it has become dir
	for t, path := range paths {
		if err := os.Symlink(path, filepath.Join(fresh, string(t))); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, there := os.Stat(dir); there != nil { // else another process was faster
			return "", err
		}
	}
	return dir, nil
}

// moduleDir returns the directory of one of the modules beside this file.
func moduleDir(root, name string) (string, error) {
	if root == "" {
		var err error
		if root, err = Checkout(); err != nil {
			return "", err
		}
	}
	return filepath.Join(root, "internal/sandbox/toolchain", name), nil
}

// Checkout returns the root of the checkout of the repository that the working directory
// lies in; [provision.Invalid] if it lies in none.
func Checkout() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", provision.Errorf(provision.Internal, "working directory: %w", err)
	}
	for dir := at; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if first, _, _ := strings.Cut(string(mod), "\n"); err == nil && strings.TrimSpace(first) == "module github.com/pregoi/provision-tenant" {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", &provision.Error{
				Class: provision.Invalid,
				Text:  "not inside a checkout of provision-tenant: " + at,
				Next:  "run this in the folder that holds its go.mod, or below it",
			}
		}
	}
}
