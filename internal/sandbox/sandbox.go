// Package sandbox runs the whole of provision-tenant on one machine: our own programs as
// processes, the real Pulumi engine, and stand-ins on loopback for what we do not own.
//
// Each stand-in is a package below this one: github (with its runner), hetzner and
// cloudflare. toolchain brings the commands that are not Go modules of ours. This package
// starts them all, sends tenants through, and reads back what came of it. Another stand-in
// is another package, one more field of [Sandbox], and a few lines in [Start].
package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
	"github.com/pregoi/provision-tenant/internal/sandbox/toolchain"
)

// What the sandbox's world is called.
const (
	repository = "prego/prego"
	workflow   = "provision-tenant.yml"
	zoneName   = "pregoi.com"
	zoneID     = "023e105f4ecef8ad9ca31a8372d0c353"
	project    = "sandbox"
)

// Options choose what a sandbox is made of.
type Options struct {
	PulumiRepo string // a Pulumi program to clone; empty for the built-in one
	PulumiRef  string // its branch, tag or commit; empty for main
	// ServerTime is how long the Hetzner stand-in takes until a new server runs.
	ServerTime time.Duration
	Progress   func(string) // told what the sandbox does before it is up; nil for nobody

	// Image is a container image of the action: runs start that, with Engine, as GitHub's
	// runner does. Empty for the action as a process, with pulumi from the machine.
	Image  string
	Engine string // docker or podman; empty for the first of podman and docker on PATH

	// Started is told the process of the action, for tests that kill it; nil for nobody.
	Started func(run int64, pid int)
	// Wrap stands before "hetzner", "cloudflare" and "github", and between the action and
	// the "controlplane", for tests that look at the traffic or lose answers; nil for nothing.
	Wrap func(name string, h http.Handler) http.Handler
}

func (o Options) wrap(name string, h http.Handler) http.Handler {
	if o.Wrap == nil {
		return h
	}
	return o.Wrap(name, h)
}

// A Sandbox is up from [Start] to Close.
type Sandbox struct {
	GitHub     *github.Server
	Hetzner    *hetzner.Server
	Cloudflare *cloudflare.Server
	Client     *controlplane.Client

	// Where everything answers.
	ControlPlaneURL, GitHubURL, HetznerURL, CloudflareURL, EdgeURL string
	// StateURL is the Pulumi backend.
	StateURL string

	key, githubToken, hetznerToken, cloudflareToken, passphrase string

	programs string // the folder with our own commands
	tools    string // the folder with pulumi and its plugins
	path     string // what the action's PATH is
	dir      string // everything that goes when the sandbox does
	closers  []func()

	controlPlane *process
}

// Start brings a sandbox up. Close ends it; a Start that fails leaves nothing behind.
func Start(ctx context.Context, o Options) (_ *Sandbox, err error) {
	progress := o.Progress
	if progress == nil {
		progress = func(string) {}
	}
	root, err := toolchain.Checkout()
	if err != nil {
		return nil, err
	}
	tools, err := toolchain.Ensure(ctx, toolchain.Options{Need: o.needs(), Progress: progress, Root: root})
	if err != nil {
		return nil, err
	}
	s := &Sandbox{
		key: "sandbox-" + rand.Text() + rand.Text(), githubToken: "sandbox-" + rand.Text(),
		hetznerToken:    rand.Text() + rand.Text() + rand.Text()[:12], // 64 characters, as Hetzner's are
		cloudflareToken: "sandbox-" + rand.Text(), passphrase: rand.Text(),
	}
	s.tools = tools.Dir
	s.path = tools.Dir + string(filepath.ListSeparator) + os.Getenv("PATH")
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "provision-tenant-"); err != nil {
		return nil, err
	}
	if s.programs, err = programsDir(root); err != nil {
		return nil, err
	}
	progress("building our own commands")
	if err := build(ctx, root, s.dir, s.programs); err != nil {
		return nil, err
	}
	if err := s.startStandIns(o); err != nil {
		return nil, err
	}
	return s, s.startGitHub(ctx, root, tools, o)
}

// startStandIns starts Hetzner, Cloudflare and a backend for Pulumi.
func (s *Sandbox) startStandIns(o Options) error {
	var err error
	s.Hetzner = hetzner.New(hetzner.Options{
		Tokens:     map[string]hetzner.Token{s.hetznerToken: {Project: project}},
		ActionTime: o.ServerTime,
	})
	if s.HetznerURL, err = s.listen(o.wrap("hetzner", s.Hetzner.Handler())); err != nil {
		return err
	}
	s.HetznerURL += "/v1"
	s.Cloudflare = cloudflare.New(cloudflare.Options{Token: s.cloudflareToken, ZoneID: zoneID, ZoneName: zoneName})
	if s.CloudflareURL, err = s.listen(o.wrap("cloudflare", s.Cloudflare.Handler())); err != nil {
		return err
	}
	s.CloudflareURL += "/client/v4"
	if s.EdgeURL, err = s.listen(s.Cloudflare.Edge(s.answer)); err != nil {
		return err
	}
	state := filepath.Join(s.dir, "pulumi-state")
	if err := os.Mkdir(state, 0o700); err != nil {
		return err
	}
	s.StateURL = "file://" + state

	return nil
}

// startGitHub starts GitHub with its runner, and the control plane that dispatches to it.
// Each has to know the other's address: GitHub's is taken before anything answers there.
func (s *Sandbox) startGitHub(ctx context.Context, root string, tools toolchain.Tools, o Options) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.GitHubURL = "http://" + l.Addr().String()
	if err := s.startControlPlane(ctx); err != nil {
		_ = l.Close()
		return err
	}
	actionSees := s.ControlPlaneURL
	if o.Wrap != nil {
		target, err := url.Parse(s.ControlPlaneURL)
		if err != nil {
			return err
		}
		if actionSees, err = s.listen(o.wrap("controlplane", httputil.NewSingleHostReverseProxy(target))); err != nil {
			return err
		}
	}
	container, err := o.container(strings.TrimPrefix(s.StateURL, "file://"))
	if err != nil {
		return err
	}
	s.GitHub = github.New(github.Options{
		Repo:      repository,
		Files:     os.DirFS(root),
		Token:     s.githubToken,
		Action:    filepath.Join(s.programs, "provision-tenant"),
		Container: container,
		Secrets: map[string]string{
			"INTERNAL_API_KEY": s.key, "HCLOUD_TOKEN_SG": s.hetznerToken,
			"PULUMI_CONFIG_PASSPHRASE": s.passphrase, "CLOUDFLARE_API_TOKEN": s.cloudflareToken,
		},
		Vars: map[string]string{
			"CONTROL_PLANE_URL": actionSees, "PULUMI_BACKEND_URL": s.StateURL, "HCLOUD_ENDPOINT": s.HetznerURL,
			"CLOUDFLARE_ZONE_ID": zoneID, "CLOUDFLARE_ZONE_NAME": zoneName, "CLOUDFLARE_API_BASE_URL": s.CloudflareURL,
			"PREGO_PULUMI_REPO": o.PulumiRepo, "PREGO_PULUMI_REF": o.PulumiRef,
		},
		Env: s.actionEnv(o, tools),
		Dir: s.dir,

		Started: o.Started,
	})
	s.onClose(func() {
		// A run that is under way gets its SIGINT and the time that GitHub gives it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 11*time.Second)
		defer cancel()
		_ = s.GitHub.Close(ctx)
	})
	s.serve(l, o.wrap("github", s.GitHub.Handler()))
	return nil
}

// startControlPlane starts the control plane, which dispatches by itself.
func (s *Sandbox) startControlPlane(ctx context.Context) error {
	p, url, err := startControlPlane(ctx, filepath.Join(s.programs, "controlplane"), append(s.Addresses().environment(),
		"HOME="+s.dir, "PATH="+os.Getenv("PATH"), "DATABASE_URL=sqlite://"+filepath.Join(s.dir, "controlplane.db"), "TENANT_DOMAIN="+zoneName))
	if err != nil {
		return err
	}
	s.controlPlane = p
	s.onClose(func() { p.stop(5 * time.Second) })
	s.ControlPlaneURL = url
	s.Client = &controlplane.Client{URL: url, Key: s.key}
	return nil
}

// listen serves h on a free port of loopback until the sandbox is closed.
func (s *Sandbox) listen(h http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.serve(l, h)
	return "http://" + l.Addr().String(), nil
}

// serve answers on l until the sandbox is closed.
func (s *Sandbox) serve(l net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // ends with ErrServerClosed
	}()
	s.onClose(func() {
		_ = server.Close()
		<-done
	})
}

// answer is what the tenant's server at ip says, if there is one and it runs.
func (s *Sandbox) answer(ip string) (string, bool) {
	for _, server := range s.Hetzner.Servers(s.hetznerToken) {
		network, err := netip.ParsePrefix(server.IPv6)
		at, _ := netip.ParseAddr(ip)
		if has := server.IPv4 == ip || err == nil && network.Contains(at); has && server.Status == "running" {
			return fmt.Sprintf("hello from server %d\n", server.ID), true
		}
	}
	return "", false
}

func (s *Sandbox) onClose(f func()) { s.closers = append(s.closers, f) }

// Close stops everything, the last started first, and removes every file of the sandbox.
func (s *Sandbox) Close() {
	for len(s.closers) > 0 {
		last := len(s.closers) - 1
		s.closers[last]()
		s.closers = s.closers[:last]
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// stackKnown reports whether the Pulumi backend holds a stack of that name.
func (s *Sandbox) stackKnown(name string) error {
	found, err := filepath.Glob(filepath.Join(strings.TrimPrefix(s.StateURL, "file://"), ".pulumi", "stacks", "*", name+".json"))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return errors.New("the Pulumi backend has no stack " + name)
	}
	return nil
}
