package main

import (
	"cmp"
	"context"
	"strconv"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/server"
	"github.com/pregoi/provision-tenant/internal/store"
)

// look returns what the sweeper asks GitHub by. It says that there is no run only where the
// list of runs, which the same token may not read everywhere, has none with the job's id: a
// run that is not there may also be one that nobody lets us see. The runs of attempts before
// this one are not looked at, as far as they are known.
func look(w github.Workflow) func(ctx context.Context, j store.Job) (server.RunState, error) {
	state := func(ctx context.Context, id int64) (server.RunState, error) {
		p, err := w.Progress(ctx, id)
		if err != nil {
			return server.RunState{}, err
		}
		return server.RunState{ID: strconv.FormatInt(id, 10), URL: cmp.Or(p.HTMLURL, p.URL), Status: p.Status, Conclusion: p.Conclusion}, nil
	}
	find := findOf(w, nil)
	return func(ctx context.Context, j store.Job) (server.RunState, error) {
		if id, err := strconv.ParseInt(j.RunID, 10, 64); err == nil && id > 0 {
			if s, err := state(ctx, id); provision.ClassOf(err) != provision.NotFound {
				return s, err
			}
		}
		past, _ := strconv.ParseInt(j.PastRunID, 10, 64) // 0 for none
		run, ok, err := find(ctx, j.ID, past, j.CreatedAt)
		if err != nil || !ok {
			return server.RunState{}, err
		}
		return state(ctx, run.ID)
	}
}
