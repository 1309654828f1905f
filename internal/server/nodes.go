package server

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

type nodesOutput struct {
	Body struct {
		Nodes []provision.Node `json:"nodes"`
	}
}

func (s *Server) listNodes(ctx context.Context, _ *struct{}) (*nodesOutput, error) {
	list, err := s.Store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	out := &nodesOutput{}
	out.Body.Nodes = append([]provision.Node{}, list...) // [] and not null
	return out, nil
}

type nodeInput struct {
	NodeID string `path:"node_id" maxLength:"128"`
}

type nodeOutput struct{ Body provision.Node }

func (s *Server) getNode(ctx context.Context, in *nodeInput) (*nodeOutput, error) {
	n, err := s.Store.Node(ctx, in.NodeID)
	if err != nil {
		return nil, err
	}
	return &nodeOutput{n}, nil
}

type registerInput struct {
	Body struct {
		// What an answer holds may be sent back; what only agents know is not taken from here.
		_                struct{}             `json:"-" additionalProperties:"true"`
		NodeID           string               `json:"node_id" pattern:"^[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}$"`
		Region           placement.Region     `json:"region" enum:"sg,us,eu"`
		Host             string               `json:"host" minLength:"1" maxLength:"253" doc:"an address or a name"`
		Status           provision.NodeStatus `json:"status,omitempty" enum:"active,draining,disabled" doc:"active when absent; of a node that is there, it is changed where there is no job_id"`
		Dedicated        bool                 `json:"dedicated,omitempty"`
		TenantID         string               `json:"tenant_id,omitempty" maxLength:"128" doc:"of a dedicated node"`
		Provider         string               `json:"provider,omitempty" maxLength:"64" default:"hetzner"`
		ProviderServerID string               `json:"provider_server_id,omitempty" maxLength:"128"`
		IPv6             string               `json:"ipv6,omitempty" maxLength:"64"`
		DBHost           string               `json:"db_host,omitempty" maxLength:"253"`
		RedisHost        string               `json:"redis_host,omitempty" maxLength:"253"`
		JobID            string               `json:"job_id,omitempty" maxLength:"128" doc:"that made it"`
		TraceID          string               `json:"trace_id,omitempty" maxLength:"128"`
	}
}

type registerOutput struct {
	Status int
	Body   provision.Node
}

func (*registerOutput) document(op *huma.Operation, api huma.API) {
	op.Responses["200"] = response[provision.Node](api, "application/json", "The same node was registered before; its status is what it was, or what an operator makes it")
	op.Responses["201"] = response[provision.Node](api, "application/json", "Registered")
}

// Resolve is Huma's: what it says is answered together with what is wrong with the schema.
func (in *registerInput) Resolve(huma.Context) []error {
	b := in.Body
	return details(hostError("host", b.Host), hostError("db_host", b.DBHost), hostError("redis_host", b.RedisHost),
		ipv6Error(b.IPv6), ownerError(b.Dedicated, b.TenantID))
}

// registerNode registers a node, once. A run that registers its node again changes nothing:
// what an operator has drained stays so. Whoever sends the status of a node that is there, and
// no job_id, is an operator, and changes it.
func (s *Server) registerNode(ctx context.Context, in *registerInput) (*registerOutput, error) {
	b := in.Body
	created, err := s.Store.PutNode(ctx, provision.Node{
		ID: b.NodeID, Region: b.Region, Host: b.Host, Status: cmp.Or(b.Status, provision.NodeActive), Dedicated: b.Dedicated, TenantID: b.TenantID,
		Provider: b.Provider, ProviderServerID: b.ProviderServerID, IPv6: b.IPv6, DBHost: b.DBHost, RedisHost: b.RedisHost,
		CreatedAt: s.now(),
	}, b.JobID)
	if err == nil && !created && b.JobID == "" && b.Status != "" {
		err = s.Store.SetNodeStatus(ctx, b.NodeID, b.Status, callerOf(ctx).name, s.now())
	}
	if err != nil {
		return nil, err
	}
	n, err := s.Store.Node(ctx, b.NodeID)
	if created {
		return &registerOutput{http.StatusCreated, n}, err
	}
	return &registerOutput{http.StatusOK, n}, err
}

// hostError refuses what is neither an address nor a name. "" is no host.
func hostError(field, host string) *provision.FieldError {
	a, err := netip.ParseAddr(host)
	if host == "" || err == nil && a.Zone() == "" || err != nil && provision.ValidHostname(host) == nil {
		return nil
	}
	return &provision.FieldError{Field: field, Value: host, Reason: "is neither an address nor a full hostname"}
}

func ipv6Error(s string) *provision.FieldError {
	if a, err := netip.ParseAddr(s); s == "" || err == nil && a.Is6() && a.Zone() == "" {
		return nil
	}
	return &provision.FieldError{Field: "ipv6", Value: s, Reason: "is no IPv6 address"}
}

func ownerError(dedicated bool, tenant string) *provision.FieldError {
	if dedicated == (tenant != "") {
		return nil
	}
	return &provision.FieldError{Field: "tenant_id", Value: tenant, Reason: "belongs to a dedicated node, and only to one"}
}

type metricsInput struct {
	Body struct {
		NodeID       string   `json:"node_id" minLength:"1" maxLength:"128"`
		CPUPct       *float64 `json:"cpu_pct,omitempty" minimum:"0" maximum:"100" nullable:"true"`
		MemoryPct    *float64 `json:"memory_pct,omitempty" minimum:"0" maximum:"100" nullable:"true"`
		DiskPct      *float64 `json:"disk_pct,omitempty" minimum:"0" maximum:"100" nullable:"true"`
		TenantCount  int      `json:"tenant_count,omitempty" minimum:"0" maximum:"1000000"`
		SaveSnapshot bool     `json:"save_snapshot,omitempty" doc:"also keep it for later"`
		Source       string   `json:"source,omitempty" enum:"node_push,hetzner_api" default:"node_push"`
	}
}

func (s *Server) pushMetrics(ctx context.Context, in *metricsInput) (*nodeOutput, error) {
	b := in.Body
	err := s.Store.PutMetrics(ctx, store.Metrics{
		NodeID: b.NodeID, CPUPct: b.CPUPct, MemoryPct: b.MemoryPct, DiskPct: b.DiskPct,
		TenantCount: b.TenantCount, Source: b.Source, Snapshot: b.SaveSnapshot, At: s.now(),
	})
	if err != nil {
		return nil, err
	}
	return s.getNode(ctx, &nodeInput{b.NodeID})
}
