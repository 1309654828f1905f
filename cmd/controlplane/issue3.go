//go:build !issue3

package main

import (
	"context"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/server"
	"github.com/pregoi/provision-tenant/internal/store"
)

// look is no sweep.
func look(github.Workflow) func(ctx context.Context, j store.Job) (server.RunState, error) {
	return nil
}

// queueTrigger refuses every job.
func queueTrigger(triggerConfig) trigger {
	return func(context.Context, provision.Job, int) (string, string, error) {
		return "", "", provision.Errorf(provision.Invalid, "this build cannot push into a queue")
	}
}
