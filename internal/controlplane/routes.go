package controlplane

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// Node returns a node; [provision.NotFound] where there is none.
func (c *Client) Node(ctx context.Context, id string) (provision.Node, error) {
	var n provision.Node
	_, err := c.do(ctx, call{method: "GET", path: []string{"internal", "nodes", id}, what: "node " + id}, &n)
	return n, err
}

// Nodes returns every node, by id.
func (c *Client) Nodes(ctx context.Context) ([]provision.Node, error) {
	var out struct {
		Nodes []provision.Node `json:"nodes"`
	}
	_, err := c.do(ctx, call{method: "GET", path: []string{"internal", "nodes"}, what: "list nodes"}, &out)
	return out.Nodes, err
}

// RegisterNode registers the node that j has made. It is sent once: after
// [provision.Busy] it is not known whether the node was taken.
func (c *Client) RegisterNode(ctx context.Context, n provision.Node, j provision.Job) error {
	body := struct {
		provision.Node
		JobID   string `json:"job_id"`
		TraceID string `json:"trace_id,omitempty"`
	}{n, j.ID, j.TraceID}
	_, err := c.do(ctx, call{method: "POST", path: []string{"internal", "nodes"}, body: body, once: true, what: "register node " + n.ID}, nil)
	return err
}

// SetNodeStatus makes a node active, draining or disabled, and returns it.
func (c *Client) SetNodeStatus(ctx context.Context, id string, status provision.NodeStatus) (provision.Node, error) {
	n, err := c.Node(ctx, id)
	if err != nil {
		return n, err
	}
	n.Status = status
	_, err = c.do(ctx, call{method: "POST", path: []string{"internal", "nodes"}, body: n, what: "status of node " + id}, &n)
	return n, err
}

// maxText is how much of a sentence is sent: a remote's words can be long.
const maxText = 8 << 10

// Complete says how a job ended; [provision.NotFound] for a job that the control plane does
// not know, [provision.Conflict] for another tenant's. Saying it again changes nothing.
func (c *Client) Complete(ctx context.Context, done provision.Completion) error {
	done.Error = cut(done.Error)
	_, err := c.do(ctx, call{method: "POST", path: []string{"internal", "provision-complete"}, body: done, what: "complete job " + done.JobID}, nil)
	return err
}

// PostEvents stores events of a run; what was stored before is not stored again.
func (c *Client) PostEvents(ctx context.Context, events []provision.Event) error {
	list := make([]provision.Event, len(events))
	for i, e := range events {
		e.Message = cut(e.Message)
		list[i] = e
	}
	body := map[string][]provision.Event{"events": list}
	_, err := c.do(ctx, call{method: "POST", path: []string{"internal", "trace-events"}, body: body, what: "post trace events"}, nil)
	return err
}

func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// An Order asks for a tenant to be provisioned. All but TenantID and Slug may be empty.
type Order struct {
	TenantID string           `json:"-"`
	Tier     placement.Tier   `json:"plan_tier,omitempty"`
	Region   placement.Region `json:"region,omitempty"`
	Slug     string           `json:"subdomain_slug,omitempty"` // empty for one that is derived from TenantID
	Company  string           `json:"company_name,omitempty"`
	TraceID  string           `json:"-"`
	// Key is the Idempotency-Key: the same order under it happens once. Empty for one of
	// this call alone, which makes its own repetitions safe.
	Key string `json:"-"`
}

// Accepted is what becomes of an order at first.
type Accepted struct {
	JobID             string              `json:"job_id"`
	TenantID          string              `json:"tenant_id"`
	TraceID           string              `json:"trace_id"`
	Status            provision.JobStatus `json:"status"`
	CanonicalHostname string              `json:"canonical_hostname"`
}

// Enqueue orders a tenant; [provision.Conflict] when it has a job on its way, or the slug is taken.
func (c *Client) Enqueue(ctx context.Context, o Order) (Accepted, error) {
	var out Accepted
	key := o.Key
	if key == "" {
		key = rand.Text()
	}
	header := map[string]string{"Idempotency-Key": key}
	if o.TraceID != "" {
		header["x-trace-id"] = o.TraceID
	}
	_, err := c.do(ctx, call{method: "POST", path: []string{"internal", "tenants", o.TenantID, "enqueue-provision"},
		body: o, header: header, what: "enqueue tenant " + o.TenantID}, &out)
	return out, err
}

// A Job is a job as the control plane lists it.
type Job struct {
	ID                string              `json:"job_id"`
	TenantID          string              `json:"tenant_id"`
	Status            provision.JobStatus `json:"status"`
	InfraMode         string              `json:"infra_mode"` // "create_new_server" or "use_existing"
	Dedicated         *int                `json:"dedicated"`  // 1 or nil
	Region            placement.Region    `json:"region"`
	TargetServerID    string              `json:"target_server_id"`
	SubdomainSlug     string              `json:"subdomain_slug"`
	CanonicalHostname string              `json:"canonical_hostname"`
	TraceID           string              `json:"trace_id"`
	PlanTier          placement.Tier      `json:"plan_tier"`
	DecisionReason    placement.Reason    `json:"decision_reason"`
	Tries             int                 `json:"tries"`
	RunID             string              `json:"run_id,omitempty"`
	RunURL            string              `json:"run_url,omitempty"`
	NodeID            string              `json:"node_id,omitempty"`
	Host              string              `json:"host,omitempty"`
	Stack             string              `json:"stack,omitempty"`
	Error             string              `json:"error,omitempty"`
	ErrorClass        provision.Class     `json:"error_class,omitempty"`
	CreatedAt         time.Time           `json:"created_at"`
	UpdatedAt         time.Time           `json:"updated_at"`
	DispatchedAt      time.Time           `json:"dispatched_at,omitzero"`
	StartedAt         time.Time           `json:"started_at,omitzero"`
	EndedAt           time.Time           `json:"ended_at,omitzero"`
}

// Provision returns the job as it was asked for.
func (j Job) Provision() provision.Job {
	return provision.Job{ID: j.ID, TenantID: j.TenantID, Region: j.Region, CreateNewServer: j.InfraMode == "create_new_server",
		TargetServerID: j.TargetServerID, SubdomainSlug: j.SubdomainSlug, CanonicalHostname: j.CanonicalHostname,
		Dedicated: j.Dedicated != nil && *j.Dedicated == 1, TraceID: j.TraceID}
}

// Job returns a job; [provision.NotFound] where there is none.
func (c *Client) Job(ctx context.Context, id string) (Job, error) {
	var j Job
	_, err := c.do(ctx, call{method: "GET", path: []string{"internal", "provision-jobs", id}, what: "job " + id}, &j)
	return j, err
}

// ProvisionJob returns a job as it was asked for; [provision.NotFound] where there is none.
func (c *Client) ProvisionJob(ctx context.Context, id string) (provision.Job, error) {
	j, err := c.Job(ctx, id)
	return j.Provision(), err
}

// A JobFilter chooses jobs. The zero JobFilter takes the newest hundred.
type JobFilter struct {
	Status   provision.JobStatus
	TenantID string
	Limit    int // at most 500; 0 for 100
}

// Jobs returns jobs, the newest first.
func (c *Client) Jobs(ctx context.Context, f JobFilter) ([]Job, error) {
	q := url.Values{}
	if f.Status != "" {
		q.Set("status", string(f.Status))
	}
	if f.TenantID != "" {
		q.Set("tenant_id", f.TenantID)
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var out struct {
		Jobs []Job `json:"jobs"`
	}
	_, err := c.do(ctx, call{method: "GET", path: []string{"internal", "provision-jobs"}, query: q, what: "list jobs"}, &out)
	return out.Jobs, err
}

// Trace returns the events of a job in their order, also those without a trace_id.
func (c *Client) Trace(ctx context.Context, jobID string) ([]provision.Event, error) {
	var list []provision.Event
	for {
		var page struct {
			Events []provision.Event `json:"events"`
			Total  int               `json:"total"`
		}
		if _, err := c.do(ctx, call{method: "GET", path: []string{"internal", "provision-trace-detail"},
			query: url.Values{"job_id": {jobID}, "offset": {strconv.Itoa(len(list))}}, what: "trace of job " + jobID}, &page); err != nil {
			return nil, err
		}
		if list = append(list, page.Events...); len(page.Events) == 0 || len(list) >= page.Total {
			return list, nil
		}
	}
}

// Metrics are what a node's agent pushes. Nil is unknown.
type Metrics struct {
	NodeID       string   `json:"node_id"`
	CPUPct       *float64 `json:"cpu_pct,omitempty"` // 0 to 100
	MemoryPct    *float64 `json:"memory_pct,omitempty"`
	DiskPct      *float64 `json:"disk_pct,omitempty"`
	TenantCount  int      `json:"tenant_count"`
	SaveSnapshot bool     `json:"save_snapshot,omitempty"`
	Source       string   `json:"source,omitempty"` // "node_push" when empty, or "hetzner_api"
}

// PushMetrics replaces what is known of a node's load; [provision.NotFound] for an unknown node.
func (c *Client) PushMetrics(ctx context.Context, m Metrics) error {
	_, err := c.do(ctx, call{method: "POST", path: []string{"internal", "server-metrics"}, body: m, what: "push metrics of node " + m.NodeID}, nil)
	return err
}

// A Question asks where a tenant would land. The zero Question takes the defaults.
type Question struct {
	Tier     placement.Tier   `json:"plan_tier,omitempty"`
	Region   placement.Region `json:"region,omitempty"`
	TenantID string           `json:"tenant_id,omitempty"`
	// Limit is how many candidates the answer has; nil for 20, 0 for all.
	Limit *int `json:"candidates_limit,omitempty"`
	// WhatIf also asks what would be.
	placement.WhatIf
}

// A Placement is the control plane's answer to a [Question].
type Placement struct {
	Placement      placement.Result      `json:"placement"`
	Candidates     []placement.Candidate `json:"candidates"`
	Cluster        placement.Cluster     `json:"cluster"`
	SelectedNodeID string                `json:"selected_node_id"`
	DecisionReason placement.Reason      `json:"decision_reason"`
	Region         placement.Region      `json:"region"`
	Thresholds     struct {
		MemoryPctMax      float64          `json:"memory_pct_max"`
		MaxTenantsPerNode int              `json:"max_tenants_per_node"`
		MetricsMaxAge     string           `json:"metrics_max_age"`
		DefaultRegion     placement.Region `json:"default_region"`
	} `json:"thresholds"`
	Algorithm string `json:"algorithm"`
	TenantID  string `json:"tenant_id,omitempty"`
	// JSON is the answer as it came, a [placement.Answer].
	JSON json.RawMessage `json:"-"`
}

// Place asks where a tenant would land. It changes nothing.
func (c *Client) Place(ctx context.Context, q Question) (Placement, error) {
	var p Placement
	_, err := c.do(ctx, call{method: "POST", path: []string{"internal", "placement", "compute"}, body: q, what: "compute placement"}, &p.JSON)
	if err == nil {
		if err = json.Unmarshal(p.JSON, &p); err != nil {
			err = provision.Errorf(provision.Internal, "compute placement: %w", err)
		}
	}
	return p, err
}

// Ready reports whether the control plane and its database answer.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.do(ctx, call{method: http.MethodGet, path: []string{"readyz"}, what: "ready"}, nil)
	return err
}
