// Provision-tenant turns one provisioning job into a tenant: it resolves the node or brings
// up the stack, registers the node, makes the DNS record and reports to the control plane.
//
// In a workflow it is a container action and takes its inputs from the runner; on a laptop
// it takes them from flags or from a message. Settings come from the environment.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pregoi/provision-tenant/internal/actions"
	"github.com/pregoi/provision-tenant/internal/cloudflare"
	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/hetzner"
	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
	"github.com/pregoi/provision-tenant/internal/stackprogram"
)

func main() {
	// A log that nobody reads any more is no reason to stop half-way. Caught and not
	// ignored: a child would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	stdout, end := io.Writer(os.Stdout), func() error { return nil }
	if os.Getenv("GITHUB_ACTIONS") == "true" {
		hide()
		log := &actions.Log{W: os.Stdout}
		stdout, end = log, log.Close
	}
	status := 0
	if filepath.Base(os.Args[0]) == postName {
		status = post(ctx, stdout, os.Getenv)
	} else {
		status = command(ctx, os.Args[1:], os.Stdin, stdout, os.Stderr, os.Getenv)
	}
	stop()
	_ = end() // who does not read is not told
	os.Exit(status)
}

// Times after the last step, and after a cancellation: the runner kills the container 10 s
// after it asked, and everything has to be over in 7.
const (
	traceTime   = 3 * time.Second         // for the trace to be delivered
	cancelTime  = time.Second             // for the same, when there is no more time
	pulumiGrace = 3500 * time.Millisecond // for pulumi to finish what it has begun at Hetzner
)

// patience is how often the control plane is asked while it does not answer: for a minute.
const patience = 16

// run does the job that the inputs ask for, and says how it ended. The trace that it
// returns has to be closed, after everything else has been said.
func run(ctx context.Context, gha *actions.Action, get, getenv func(string) string) (report, *trace, error) {
	req, err := parseInputs(get)
	t := &trace{gha: gha}
	r := &pipeline.Run{Job: req.job, Attempt: attempt(gha)}
	var cfg config
	if err == nil {
		cfg, err = parseConfig(req, getenv)
	}
	if err == nil {
		err = gha.CheckOutputs()
	}
	if err == nil && req.result != "" {
		err = req.earlier(r)
	}
	if err == nil && req.oidc.Organization != "" && req.usesPulumi() {
		cfg.pulumiToken, err = exchange(ctx, gha, req.oidc, cfg.pulumiBackend)
	}
	cp := &controlplane.Client{URL: cfg.controlPlaneURL, Key: cfg.internalAPIKey, Tries: patience}
	if err != nil {
		r.Err = err
		return newReport(r, req.options.Plan, tellFailure(ctx, gha, r, req, cp, get, getenv)), t, err
	}
	if req.traceGiven != "" && req.job.TraceID == "" {
		gha.Warning("trace_id dropped", "trace_id "+req.traceGiven+" is no trace_… of at most 128 characters; events are kept under the job")
	}
	if cfg.hcloudFallback && req.job.TargetServerID == "" {
		gha.Notice("Hetzner token", "region "+string(req.job.Region)+" has no token of its own: HCLOUD_TOKEN_SG is used")
	}
	machines := &hetzner.Project{Token: cfg.hcloudToken, Endpoint: cfg.hcloudEndpoint}
	zone := &cloudflare.Zone{Token: cfg.cloudflareToken, ID: cfg.zoneID, ZoneName: cfg.zoneName, BaseURL: cfg.cloudflareURL}
	program := newProgram(req, cfg, t, machines, getenv)
	limited, stop := context.WithTimeoutCause(ctx, req.timeout, tooLong(req.timeout))
	defer stop()
	if !req.options.Plan && req.options.Only != "select_stack" {
		t.remote = controlplane.NewTracer(ctx, &controlplane.Client{URL: cfg.controlPlaneURL, Key: cfg.internalAPIKey})
	}
	err = pipeline.Execute(limited, r, req.options, t, req.only(steps(cp, program, machines, req.ordered(), zone, req.dns, gha.Redact))...)
	for _, w := range r.Warnings {
		gha.Warning("provision-tenant", w)
	}
	return newReport(r, req.options.Plan, err), t, err
}

// tellFailure tells the control plane of a job that could not even begin, as far as inputs
// and settings say who that is: else it would wait for it. It returns why the job failed.
func tellFailure(ctx context.Context, gha *actions.Action, r *pipeline.Run, req request, cp *controlplane.Client, get, getenv func(string) string) error {
	r.Job.ID, r.Job.TenantID = strings.TrimSpace(get("job_id")), strings.TrimSpace(get("tenant_id"))
	cp.URL, cp.Key = strings.TrimSpace(getenv("CONTROL_PLANE_URL")), strings.TrimSpace(getenv("INTERNAL_API_KEY"))
	if !gha.Running() || req.unclear || req.options != (pipeline.Options{}) || r.Job.ID == "" || r.Job.TenantID == "" || cp.URL == "" || cp.Key == "" {
		return r.Err
	}
	why := r.Err
	complete := pipeline.ProvisionComplete(cp.ProvisionJob, redacted(cp.Complete, gha.Redact))
	_ = pipeline.Execute(ctx, r, pipeline.Options{}, &trace{gha: gha}, complete) // what it says is in the log
	return why
}

// tooLong is why a run is stopped when its time is over.
func tooLong(d time.Duration) error {
	return &provision.Error{Class: provision.Busy, Text: fmt.Sprintf("stopped after %s, which is timeout_minutes", d),
		Next: "run the same job again: what exists is kept; if it has to take this long, raise timeout_minutes and, above it, the job's timeout-minutes"}
}

// exchange gets a short-lived Pulumi token for the run's ID token.
func exchange(ctx context.Context, gha *actions.Action, e pulumi.Exchange, backend string) (string, error) {
	e.BackendURL = backend
	id, err := gha.IDToken(ctx, e.Audience())
	switch {
	case errors.Is(err, actions.ErrNoIDToken):
		return "", &provision.Error{Class: provision.Denied, Text: "pulumi_oidc_organization: " + err.Error(),
			Next: "add `permissions: {id-token: write}` to the job that uses this action; contents: read has to be named beside it"}
	case err != nil && ctx.Err() == nil:
		return "", provision.Errorf(provision.Busy, "pulumi_oidc_organization: %w", err)
	}
	token := ""
	if err == nil {
		token, err = e.Token(ctx, id)
		gha.Mask(token)
	}
	if err != nil && ctx.Err() != nil {
		return "", provision.Errorf(provision.Cancelled, "pulumi_oidc_organization: %w", err)
	}
	return token, err
}

// newProgram returns the Pulumi program that req asks for: the one that it names, or the
// built-in one.
func newProgram(req request, cfg config, t *trace, machines *hetzner.Project, getenv func(string) string) *pulumi.Program {
	p := &pulumi.Program{
		Path:           getenv("PATH"),
		Version:        getenv("PULUMI_VERSION"), // an image knows it; else pulumi is asked
		Env:            os.Environ(),
		Plugins:        getenv("PULUMI_PLUGINS"),
		TempDir:        tempDir(getenv),
		BackendURL:     cfg.pulumiBackend,
		AccessToken:    cfg.pulumiToken,
		Passphrase:     cfg.pulumiPassphrase,
		Organization:   req.organization,
		HCloudToken:    cfg.hcloudToken,
		HCloudEndpoint: cfg.hcloudEndpoint,
		Wait:           req.lockTimeout,
		Grace:          pulumiGrace,
		Find: func(ctx context.Context, r pulumi.Resource) (string, bool, error) {
			return machines.Find(ctx, r.Type, r.Name, r.Inputs)
		},
		Mask:     func(secret string) { t.gha.Mask(secret) },
		Redact:   t.gha.Redact,
		Progress: t.progress,
		Log:      t.gha.DebugLog(),
	}
	if req.repo != "" {
		p.Source = &pulumi.Source{URL: req.repo, Ref: req.ref, Token: req.repoToken}
	} else {
		p.Inline = stackprogram.Program(stackprogram.Settings{Image: req.order.Image, SSHKey: req.order.SSHKey, SSHFrom: req.sshFrom})
	}
	return p
}

// attempt names this execution of the job. On a laptop nobody counts, so each has a name
// of its own: its events are not repeats of an earlier one's.
func attempt(gha *actions.Action) pipeline.Attempt {
	if !gha.Running() {
		return pipeline.Attempt{Run: "local-" + rand.Text()[:8], Number: 1}
	}
	return pipeline.Attempt{Run: gha.RunID(), Number: gha.RunAttempt(), URL: gha.RunURL()}
}

// steps is the pipeline.
func steps(cp *controlplane.Client, program pipeline.Program, machines pipeline.Machines, order provision.Order,
	zone pipeline.Zone, dns pipeline.DNSPolicy, redact func(string) string,
) []pipeline.Step {
	return []pipeline.Step{
		pipeline.ResolveNode(cp.Node),
		pipeline.SelectStack(),
		pipeline.PulumiUp(program, machines, order),
		pipeline.RegisterNode(cp),
		pipeline.TenantDNS(zone, dns),
		pipeline.ProvisionComplete(cp.ProvisionJob, redacted(cp.Complete, redact)),
	}
}

// redacted keeps secrets out of what the control plane is told of a failure.
func redacted(complete func(context.Context, provision.Completion) error, redact func(string) string) func(context.Context, provision.Completion) error {
	return func(ctx context.Context, c provision.Completion) error {
		c.Error = redact(c.Error)
		return complete(ctx, c)
	}
}
