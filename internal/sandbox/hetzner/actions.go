package hetzner

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud/schema"
)

// An action is something that takes time. What it does to resources is done when it
// starts; that it is still running is a matter of the clock alone.
type action struct {
	id        int64
	command   string
	started   time.Time
	ends      time.Time
	resources []schema.ActionResourceReference
	failure   *actionError // what it ends with; nil for success
}

type actionError struct{ code, message string }

// start starts an action that takes a quarter of the action time.
func (c *call) start(command, kind string, id int64, more ...schema.ActionResourceReference) *action {
	return c.startUntil(c.opts.Now().Add(c.opts.ActionTime/4), command, kind, id, more...)
}

func (c *call) startUntil(ends time.Time, command, kind string, id int64, more ...schema.ActionResourceReference) *action {
	a := &action{
		id:        c.newID(),
		command:   command,
		started:   c.opts.Now(),
		ends:      ends,
		resources: append([]schema.ActionResourceReference{{ID: id, Type: kind}}, more...),
	}
	if f, ok := c.failures[command]; ok {
		a.failure = &f
	}
	c.p.actions = append(c.p.actions, a)
	return a
}

// show is the action as the request that started it shows it: running.
func (a *action) show() schema.Action {
	return schema.Action{
		ID: a.id, Command: a.command, Status: "running", Started: a.started.UTC(), Resources: a.resources,
	}
}

// showAt is the action as it is later.
func (a *action) showAt(now time.Time) schema.Action {
	v := a.show()
	if now.Before(a.ends) {
		if whole := a.ends.Sub(a.started); whole > 0 {
			v.Progress = int(100 * now.Sub(a.started) / whole)
		}
		return v
	}
	ends := a.ends.UTC()
	v.Status, v.Progress, v.Finished = "success", 100, &ends
	if a.failure != nil {
		v.Status = "error"
		v.Error = &schema.ActionError{Code: a.failure.code, Message: a.failure.message}
	}
	return v
}

// oneAction is the answer of a request that started one.
func oneAction(a *action) (int, any, error) {
	return http.StatusCreated, map[string]any{"action": a.show()}, nil
}

func actionRoutes(handle func(string, handler)) {
	// Since 2025-01-30 only the actions that are named are listed.
	handle("GET /v1/actions", func(c *call) (int, any, error) {
		query := c.r.URL.Query()
		if len(query["id"]) == 0 {
			return 0, nil, refuse(http.StatusGone, "deprecated_api_endpoint", "API functionality was removed")
		}
		return c.listActions(func(a schema.Action) bool {
			return slices.Contains(query["id"], strconv.FormatInt(a.ID, 10)) &&
				(len(query["status"]) == 0 || slices.Contains(query["status"], a.Status))
		})
	})
	handle("GET /v1/actions/{id}", func(c *call) (int, any, error) {
		id, err := c.id("action")
		if err != nil {
			return 0, nil, err
		}
		for _, a := range c.p.actions {
			if a.id == id {
				return http.StatusOK, map[string]any{"action": a.showAt(c.opts.Now())}, nil
			}
		}
		return 0, nil, notFound("action", id)
	})
	handle("GET /v1/servers/{id}/actions", func(c *call) (int, any, error) {
		v, err := c.p.servers.ofCall(c, "server")
		if err != nil {
			return 0, nil, err
		}
		return c.listActions(func(a schema.Action) bool {
			return slices.Contains(a.Resources, schema.ActionResourceReference{ID: v.id, Type: "server"})
		})
	})
}

func (c *call) listActions(wanted func(schema.Action) bool) (int, any, error) {
	var rows []any
	for _, a := range c.p.actions {
		if v := a.showAt(c.opts.Now()); wanted(v) {
			rows = append(rows, v)
		}
	}
	return http.StatusOK, page{"actions", rows}, nil
}
