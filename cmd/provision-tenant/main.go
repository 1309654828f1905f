// Provision-tenant turns one provisioning job into a tenant: it resolves the node or brings
// up the stack, registers the node, makes the DNS record and reports to the control plane.
//
// In a workflow it is a container action and takes its inputs from the runner; on a laptop
// it takes them from flags or from a message. Settings come from the environment.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pregoi/provision-tenant/internal/actions"
	"github.com/pregoi/provision-tenant/internal/cloudflare"
	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/hetzner"
	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/pulumi"
	"github.com/pregoi/provision-tenant/internal/stackprogram"
)

func main() {
	// A log that nobody reads any more is no reason to stop half-way. Caught and not
	// ignored: a child would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := command(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(status)
}

// traceTime is how long the trace may still be delivered after the last step; cancelTime
// is what is left of it when the runner waits to kill the container.
const (
	traceTime  = 15 * time.Second
	cancelTime = time.Second
)

// run does the job that the inputs ask for, and says how it ended.
func run(ctx context.Context, gha *actions.Action, get, getenv func(string) string) (report, error) {
	gha.Mask(secrets(getenv, get)...)
	req, err := parseInputs(get)
	r := &pipeline.Run{Job: req.job, Attempt: attempt(gha)}
	if err != nil {
		return newReport(r, false, err), err
	}
	cfg, err := parseConfig(req, getenv)
	if err != nil {
		return newReport(r, req.options.Plan, err), err
	}
	if req.traceGiven != "" && req.job.TraceID == "" {
		gha.Warning("trace_id dropped", "trace_id "+req.traceGiven+" is no trace_… of at most 128 characters; events are kept under the job")
	}
	if cfg.hcloudFallback && req.job.TargetServerID == "" {
		gha.Notice("Hetzner token", "region "+string(req.job.Region)+" has no token of its own: HCLOUD_TOKEN_SG is used")
	}

	cp := &controlplane.Client{URL: cfg.controlPlaneURL, Key: cfg.internalAPIKey}
	machines := &hetzner.Project{Token: cfg.hcloudToken, Endpoint: cfg.hcloudEndpoint}
	zone := &cloudflare.Zone{Token: cfg.cloudflareToken, ID: cfg.zoneID, ZoneName: cfg.zoneName, BaseURL: cfg.cloudflareURL}
	program := newProgram(req, cfg, gha, machines, getenv)

	trace := tracers{logTracer{gha}}
	if !req.options.Plan && cfg.controlPlaneURL != "" {
		remote := controlplane.NewTracer(ctx, cp)
		defer closeTrace(ctx, gha, remote)
		trace = append(trace, remote)
	}
	err = pipeline.Execute(ctx, r, req.options, trace, steps(cp, program, machines, zone, req.dns)...)
	for _, w := range r.Warnings {
		gha.Warning("provision-tenant", w)
	}
	return newReport(r, req.options.Plan, err), err
}

// newProgram returns the Pulumi program that req asks for: the one that it names, or the
// built-in one.
func newProgram(req request, cfg config, gha *actions.Action, machines *hetzner.Project, getenv func(string) string) *pulumi.Program {
	p := &pulumi.Program{
		Path:           getenv("PATH"),
		Env:            os.Environ(),
		Plugins:        getenv("PULUMI_PLUGINS"),
		TempDir:        getenv("RUNNER_TEMP"),
		BackendURL:     cfg.pulumiBackend,
		AccessToken:    cfg.pulumiToken,
		Passphrase:     cfg.pulumiPassphrase,
		Organization:   req.organization,
		HCloudToken:    cfg.hcloudToken,
		HCloudEndpoint: cfg.hcloudEndpoint,
		Wait:           req.lockTimeout,
		Find: func(ctx context.Context, r pulumi.Resource) (string, bool, error) {
			return machines.Find(ctx, r.Type, r.Name, r.Inputs)
		},
		Mask:     func(secret string) { gha.Mask(secret) },
		Progress: func(pr pulumi.Progress) { showProgress(gha, pr) },
	}
	if req.repo != "" {
		p.Source = &pulumi.Source{URL: req.repo, Ref: req.ref, Token: req.repoToken}
	} else {
		p.Inline = stackprogram.Program(stackprogram.Settings{
			ServerType: req.serverType[req.job.Region],
			Location:   req.location[req.job.Region],
			Image:      req.image,
			SSHKey:     req.sshKey,
		})
	}
	return p
}

// attempt names this execution of the job.
func attempt(gha *actions.Action) pipeline.Attempt {
	if !gha.Running() {
		return pipeline.Attempt{Run: "local", Number: 1}
	}
	return pipeline.Attempt{Run: gha.RunID(), Number: gha.RunAttempt(), URL: gha.RunURL()}
}

// closeTrace delivers what is left of the trace, and says what could not be delivered.
func closeTrace(ctx context.Context, gha *actions.Action, t *controlplane.Tracer) {
	limit := traceTime
	if ctx.Err() != nil {
		limit = cancelTime
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if lost := t.Close(ctx); len(lost) > 0 {
		gha.Warning("trace", fmt.Sprintf("%d events of the trace were not delivered: %v", len(lost), lost[0].Err))
	}
}

// steps is the pipeline.
func steps(cp *controlplane.Client, program pipeline.Program, machines pipeline.Machines, zone pipeline.Zone, dns pipeline.DNSPolicy) []pipeline.Step {
	return []pipeline.Step{
		pipeline.ResolveNode(cp.Node),
		pipeline.SelectStack(),
		pipeline.PulumiUp(program, machines),
		pipeline.RegisterNode(cp),
		pipeline.TenantDNS(zone, dns),
		pipeline.ProvisionComplete(cp.Complete),
	}
}
