package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/actions"
	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
)

// postName is what the image calls the program when the runner starts the post part, after
// all steps of the job, however they ended. The runner gives it the same inputs and settings.
const postName = "provision-tenant-post"

// Times of the post part: the runner gives it minutes, but somebody waits for the job's end.
const (
	postTime  = time.Minute
	postTries = 5                // requests of one kind
	askTime   = 10 * time.Second // for what is only asked, so that there is time left to tell
)

// post is the whole post part; it returns the exit status. It cleans up after a main part
// that was killed, and tells the control plane what that could not.
func post(ctx context.Context, stdout io.Writer, getenv func(string) string) int {
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	gha := &actions.Action{Stdout: stdout, Getenv: getenv}
	gha.Mask(secrets(getenv, gha.Input)...)
	left, known, err := readMark(ctx, gha, tempDir(getenv))
	if err != nil {
		gha.Warning("provision-tenant", err.Error())
		return 0
	}
	for _, did := range (pulumi.Remains{TempDir: tempDir(getenv), BackendURL: strings.TrimSpace(getenv("PULUMI_BACKEND_URL"))}).Clean() {
		gha.Info(did)
	}
	cp := &controlplane.Client{
		URL: strings.TrimSpace(getenv("CONTROL_PLANE_URL")), Key: strings.TrimSpace(getenv("INTERNAL_API_KEY")), Tries: postTries,
	}
	switch {
	case cp.URL == "" || cp.Key == "":
	case left.Ended:
		err = deliver(ctx, gha, cp, left)
	default:
		err = tellDeath(ctx, gha, cp, left.Interrupted, known)
	}
	if err != nil {
		gha.Error("provision-tenant: "+string(provision.ClassOf(err)), err.Error())
	}
	return provision.ExitStatus(err)
}

// deliver tells the control plane what the main part could not. Of another job than the
// inputs name nothing is told: our main part has not left that.
func deliver(ctx context.Context, gha *actions.Action, cp *controlplane.Client, left happening) error {
	var errs []error
	id, tenant := strings.TrimSpace(gha.Input("job_id")), strings.TrimSpace(gha.Input("tenant_id"))
	foreign := func(e provision.Event) bool { return e.JobID != id || e.TenantID != tenant }
	if c := left.Completion; slices.ContainsFunc(left.Events, foreign) || c != nil && (c.JobID != id || c.TenantID != tenant) {
		return provision.Errorf(provision.Conflict, "what the main part has left is of another job than %s: none of it is told", id)
	}
	if len(left.Events) > 0 {
		if err := cp.PostEvents(ctx, left.Events); err != nil {
			gha.Warning("trace", "events of the trace were not delivered: "+err.Error())
		} else {
			gha.Info("delivered what was left of the trace")
		}
	}
	if c := left.Completion; c != nil {
		err := cp.Complete(ctx, *c)
		if err == nil {
			gha.Info("told the control plane that job " + c.JobID + " is " + string(c.Status))
		} else if provision.ClassOf(err) != provision.NotFound { // else somebody started the run by hand
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// tellDeath tells the control plane that the main part died without a word: in which step,
// and that the job has failed. A main part of which nothing is known may have ended well.
func tellDeath(ctx context.Context, gha *actions.Action, cp *controlplane.Client, interrupted, known bool) error {
	req, err := parseInputs(gha.Input)
	req.job.ID, req.job.TenantID = strings.TrimSpace(gha.Input("job_id")), strings.TrimSpace(gha.Input("tenant_id"))
	alone := req.options.Only != "" && req.options.Only != "provision_complete"
	if err != nil || req.options.Plan || alone || req.job.ID == "" || req.job.TenantID == "" {
		return nil // no job of the control plane's depends on it
	}
	asking, stop := context.WithTimeout(ctx, askTime)
	defer stop()
	switch job, err := cp.Job(asking, req.job.ID); {
	case err == nil && job.Status == provision.JobCompleted:
		gha.Info("the control plane knows already that job " + req.job.ID + " is " + string(job.Status))
		return nil // that was the last thing it did
	case known:
	case provision.ClassOf(err) == provision.NotFound, err == nil && (job.Status.Terminal() || req.later):
		return nil
	case err != nil:
		return err
	}
	died := provision.Errorf(provision.Internal, "the action was killed before it could say how it ended: its memory ran out, or its machine was stopped")
	if interrupted {
		died = provision.Errorf(provision.Cancelled, "the run was cancelled, and the action was killed before it could say what exists")
	}
	r := &pipeline.Run{Job: req.job, Attempt: attempt(gha), Err: died}
	t := &trace{gha: gha, remote: controlplane.NewTracer(ctx, cp)}
	endStep(ctx, cp, r, t)
	complete := pipeline.ProvisionComplete(cp.ProvisionJob, redacted(cp.Complete, gha.Redact))
	_ = pipeline.Execute(ctx, r, pipeline.Options{}, t, complete)
	t.close(ctx)
	if err := gha.Summary("## ❌ Tenant `" + cell(req.job.TenantID) + "` is not provisioned\n\n**" + cell(died.Error()) + "**\n\nNext: " + provision.NextAction(died) + "\n"); err != nil {
		gha.Warning("summary", err.Error())
	}
	if i := len(r.Results) - 1; i >= 0 && r.Results[i].Status == provision.Failed {
		return errors.New(r.Results[i].Detail)
	}
	return nil
}

// endStep ends the step that the main part was in, in the trace, if it can be seen there.
func endStep(ctx context.Context, cp *controlplane.Client, r *pipeline.Run, t *trace) {
	ctx, stop := context.WithTimeout(ctx, askTime)
	defer stop()
	events, err := cp.Trace(ctx, r.Job.ID)
	if err != nil {
		return // the completion says it all
	}
	var open *provision.Event
	for i, e := range events { // steps do not overlap
		id := func(status provision.Status) string {
			return provision.EventID(r.Job.ID, r.Attempt.Run, r.Attempt.Number, e.Stage, status)
		}
		switch e.ID {
		case id(provision.Started):
			open = &events[i]
		case id(provision.Succeeded), id(provision.Failed), id(provision.Skipped):
			open = nil
		}
	}
	if open == nil || open.Stage == "provision_complete" {
		return
	}
	e := *open
	e.ID = provision.EventID(r.Job.ID, r.Attempt.Run, r.Attempt.Number, e.Stage, provision.Failed)
	e.Status, e.Message, e.At = provision.Failed, r.Err.Error(), time.Now().UTC()
	e.DurationMS = e.At.Sub(open.At).Milliseconds()
	t.gha.Group(e.Stage)
	t.Emit(e)
}
