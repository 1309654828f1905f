package main

import (
	"context"

	"github.com/pregoi/provision-tenant/internal/cloudflare"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// queueTrigger pushes jobs into a Cloudflare Queue, from which a dispatcher takes them. A
// message that is pushed twice starts one run: the dispatcher's ledger sees to that. Which
// run it is, its first event tells.
func queueTrigger(c triggerConfig) trigger {
	q := &cloudflare.Queue{BaseURL: c.queueAPIURL, AccountID: c.queueAccount, ID: c.queueID, Token: c.queueToken}
	return func(ctx context.Context, j provision.Job, attempt int) (string, string, error) {
		body, err := message(j, attempt)
		if err != nil {
			return "", "", err
		}
		return "", "", q.Push(ctx, body)
	}
}
