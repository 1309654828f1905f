package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A report is what a run leaves behind, for people and for machines. It is the output
// named result.
type report struct {
	JobID         string             `json:"job_id"`
	TenantID      string             `json:"tenant_id"`
	TraceID       string             `json:"trace_id,omitempty"`
	Mode          string             `json:"mode"`
	Placement     string             `json:"placement"`
	Region        string             `json:"region"`
	Stack         string             `json:"stack,omitempty"`
	CreatedServer bool               `json:"created_server"`
	Servers       []provision.Server `json:"servers"`
	NodeID        string             `json:"node_id,omitempty"`
	Host          string             `json:"host,omitempty"`
	Hostname      string             `json:"hostname,omitempty"`
	Records       []provision.Record `json:"dns_records"`
	Changes       []provision.Change `json:"changes"`
	Steps         []pipeline.Result  `json:"steps"`
	Warnings      []string           `json:"warnings,omitempty"`

	Error      string          `json:"error,omitempty"`
	ErrorClass provision.Class `json:"error_class,omitempty"`
	RequestID  string          `json:"request_id,omitempty"`
	Retryable  bool            `json:"retryable"`
	NextAction string          `json:"next_action,omitempty"`

	node     provision.Node // for the inventory
	hostname string
	owed     *provision.Completion // that the control plane still has to be told; nil for none
}

// newReport says how r ended; err is why it failed, or nil.
func newReport(r *pipeline.Run, plan bool, err error) report {
	rep := report{
		JobID: r.Job.ID, TenantID: r.Job.TenantID, TraceID: r.Job.TraceID,
		Mode: "apply", Placement: placementText(r.Job), Region: string(r.Job.Region),
		Stack: r.Stack, CreatedServer: r.CreatedServer, Servers: r.Servers,
		NodeID: r.Node.ID, Host: r.Node.Host, Records: r.Records, Changes: r.Changes,
		Steps: r.Results, Warnings: r.Warnings,
		node: r.Node, hostname: r.Job.CanonicalHostname, owed: r.Owed,
	}
	if plan {
		rep.Mode = "plan"
	}
	if len(r.Records) > 0 {
		rep.Hostname = r.Job.CanonicalHostname
	}
	if err != nil {
		rep.Error = err.Error()
		rep.ErrorClass = provision.ClassOf(err)
		rep.Retryable = provision.Retryable(err)
		rep.NextAction = provision.NextAction(err)
		if e := (*provision.Error)(nil); errors.As(err, &e) {
			rep.RequestID = e.RequestID
		}
	}
	return rep
}

// placementText says in words where the job's tenant lands.
func placementText(j provision.Job) string {
	switch {
	case j.TargetServerID != "":
		return "existing node " + j.TargetServerID
	case j.Dedicated:
		return "dedicated servers"
	default:
		return "new shared server"
	}
}

// An output is one of the action's outputs.
type output struct{ name, value string }

// prose are the outputs in which a secret is blotted out. Any other that holds one is left
// empty: a later step would take the rest for the value.
var prose = []string{"result", "error", "next_action"}

// outputs are those of action.yml, in its order; a test holds the two together.
func (rep report) outputs() []output {
	server := func(role provision.Role) (s provision.Server) {
		for _, s := range rep.Servers {
			if s.Role == role {
				return s
			}
		}
		return s
	}
	recordID := ""
	if len(rep.Records) > 0 {
		recordID = rep.Records[0].ID
	}
	whole, err := json.Marshal(rep)
	if err != nil {
		whole = []byte("{}") // unreachable: a report holds nothing that JSON cannot
	}
	retryable := ""
	if rep.Error != "" {
		retryable = strconv.FormatBool(rep.Retryable)
	}
	return []output{
		{"node_id", rep.NodeID},
		{"host", rep.Host},
		{"stack", rep.Stack},
		{"created_server", strconv.FormatBool(rep.CreatedServer)},
		{"server_id", server(provision.App).ID},
		{"server_ip", server(provision.App).IPv4},
		{"server_location", server(provision.App).Location},
		{"server_type", server(provision.App).Type},
		{"db_server_ip", server(provision.DB).IPv4},
		{"redis_server_ip", server(provision.Redis).IPv4},
		{"hostname", rep.Hostname},
		{"dns_record_id", recordID},
		{"result", string(whole)},
		{"ansible_inventory", rep.inventory()},
		{"ansible_vars", rep.vars()},
		{"error", rep.Error},
		{"error_class", string(rep.ErrorClass)},
		{"retryable", retryable},
		{"next_action", rep.NextAction},
	}
}

// markdown is the job summary.
func (rep report) markdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	switch {
	case rep.Error != "":
		line("## ❌ Tenant `%s` is not provisioned\n", cell(rep.TenantID))
		line("**%s**\n", cell(rep.Error))
		line("| | |\n| --- | --- |")
		line("| Class | `%s` |", rep.ErrorClass)
		if rep.RequestID != "" {
			line("| Request | `%s` |", cell(rep.RequestID))
		}
		line("| The same job again can succeed | %s |", map[bool]string{true: "yes", false: "no"}[rep.Retryable])
		line("| Next | %s |\n", cell(rep.NextAction))
		line("What exists so far is kept: %s.\n", cell(rep.exists()))
	case rep.Mode == "plan":
		line("## Plan for tenant `%s`: nothing was changed\n", cell(rep.TenantID))
	default:
		line("## ✅ Tenant `%s` is provisioned\n", cell(rep.TenantID))
	}
	line("| | |\n| --- | --- |")
	row := func(name, value string) {
		if value != "" {
			line("| %s | %s |", name, cell(value))
		}
	}
	row("Job", rep.JobID)
	row("Trace", rep.TraceID)
	row("Placement", rep.Placement+", region "+rep.Region)
	row("Stack", rep.Stack)
	row("Node", rep.NodeID)
	for _, r := range rep.Records {
		proxied := ""
		if r.Proxied {
			proxied = ", proxied"
		}
		row("DNS", fmt.Sprintf("%s %s %s (record %s%s)", r.Name, r.Type, r.Content, r.ID, proxied))
	}
	if len(rep.Servers) > 0 {
		line("\n| Server | Id | IPv4 | IPv6 | Location | Type |\n| --- | --- | --- | --- | --- | --- |")
		for _, s := range rep.Servers {
			line("| %s | %s | %s | %s | %s | %s |", s.Role, cell(s.ID), cell(s.IPv4), cell(s.IPv6), cell(s.Location), cell(s.Type))
		}
	}
	line("\n| Step | | Seconds | |\n| --- | --- | ---: | --- |")
	for _, s := range rep.Steps {
		line("| %s | %s | %.1f | %s |", s.Step, s.Status, s.Seconds, cell(s.Detail))
	}
	for _, w := range rep.Warnings {
		line("\n> ⚠️ %s", cell(w))
	}
	return b.String()
}

// exists says what a failed run has left, for whoever goes on.
func (rep report) exists() string {
	var parts []string
	for _, s := range rep.Servers {
		parts = append(parts, fmt.Sprintf("%s server %s (%s)", s.Role, s.ID, s.IPv4))
	}
	if len(rep.Servers) == 0 {
		for _, c := range rep.Changes {
			parts = append(parts, c.String())
		}
	}
	for _, s := range rep.Steps {
		if s.Step == "register_node" && s.Status == provision.Succeeded {
			parts = append(parts, "node "+rep.NodeID)
		}
	}
	for _, r := range rep.Records {
		parts = append(parts, fmt.Sprintf("record %s %s %s", r.ID, r.Type, r.Content))
	}
	if len(parts) == 0 {
		return "nothing was made by this run"
	}
	return strings.Join(parts, ", ")
}

// cell makes s safe inside a Markdown table: a remote's words may hold anything.
var cell = strings.NewReplacer("\\", "\\\\", "|", "\\|", "\n", " ", "\r", " ", "`", "'", "<", "&lt;", "[", "\\[", "!", "\\!").Replace
