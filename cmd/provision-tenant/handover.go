package main

import (
	"encoding/json"
	"slices"

	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// What configures a tenant's servers after us is Ansible, in a job of its own. This file
// is what the two jobs agree on: the inventory and the variables that the first leaves as
// outputs, and the result that comes back with how the second ended.

// Ansible's groups, as the playbook names them.
const (
	nodesGroup = "prego_nodes"
	dbGroup    = "prego_db_servers"
	redisGroup = "prego_redis_servers"
)

// A hosts maps a host's name in an inventory to its variables.
type hosts map[string]map[string]any

// inventory is an inventory in the form of Ansible's YAML plugin, which reads JSON too:
// the node, and where they stand alone its database and Redis servers. A node that has
// neither is in all three groups itself. It is "" while there is no node.
// https://docs.ansible.com/ansible/latest/collections/ansible/builtin/yaml_inventory.html
func (rep report) inventory() string {
	n := rep.node
	if n.ID == "" || n.Host == "" {
		return ""
	}
	group := map[string]hosts{nodesGroup: {}, dbGroup: {}, redisGroup: {}}
	at := func(name, address, role string) map[string]any {
		v := map[string]any{"ansible_host": address, "ansible_user": "root", "node_id": n.ID, "region": n.Region}
		group[role][name] = v
		return v
	}
	app := at(n.ID, n.Host, nodesGroup)
	beside := func(address, name, role string) string {
		if address == "" || address == n.Host {
			group[role][n.ID] = app
			return n.Host
		}
		at(name, address, role)
		return address
	}
	app["db_host"] = beside(n.DBHost, n.ID+"-db", dbGroup)
	app["db_port"] = 3306
	app["redis_host"] = beside(n.RedisHost, n.ID+"-redis", redisGroup)
	children := map[string]any{}
	for name, h := range group {
		children[name] = map[string]any{"hosts": h}
	}
	return compact(map[string]any{"all": map[string]any{"children": children}})
}

// vars are the extra variables of the playbook.
func (rep report) vars() string {
	if rep.inventory() == "" {
		return ""
	}
	return compact(map[string]string{"tenant_id": rep.TenantID, "canonical_hostname": rep.hostname, "job_id": rep.JobID})
}

func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // unreachable: the values are strings, numbers and maps of them
	}
	return string(b)
}

// earlier reads the run that the input result describes: an earlier step's output, whose
// completion was left to this one. outcome says what became of the job in between, in
// GitHub's words: success, failure, cancelled or skipped.
func (req request) earlier(r *pipeline.Run) error {
	var rep report
	if err := json.Unmarshal([]byte(req.result), &rep); err != nil {
		return badResult(req.result, "is not the output result of an earlier step")
	}
	if rep.JobID != req.job.ID || rep.TenantID != req.job.TenantID {
		return provision.Errorf(provision.Conflict, "the result is of job %s of tenant %s, and the inputs are of job %s of tenant %s",
			rep.JobID, rep.TenantID, req.job.ID, req.job.TenantID)
	}
	placed := slices.ContainsFunc(rep.Steps, func(s pipeline.Result) bool { return s.Step == "tenant_dns" && s.Status == provision.Succeeded })
	if rep.Error == "" && (rep.Mode != "apply" || !placed) {
		return badResult(req.result, "is of a run that has not made the tenant: of a plan, or of a single step")
	}
	r.Stack, r.Servers, r.CreatedServer, r.Records, r.Changes = rep.Stack, rep.Servers, rep.CreatedServer, rep.Records, rep.Changes
	r.Node = provision.Node{ID: rep.NodeID, Region: req.job.Region, Host: rep.Host}
	switch {
	case rep.Error != "":
		r.Err = &provision.Error{Class: rep.ErrorClass, Text: rep.Error, Next: rep.NextAction}
	case req.outcome == "failure":
		r.Err = &provision.Error{Class: provision.Internal, Text: "the servers exist and could not be configured: the job after this one failed",
			Next: "read that job's log, then re-run the failed jobs of this run"}
	case req.outcome == "cancelled":
		r.Err = &provision.Error{Class: provision.Cancelled, Text: "the servers exist; somebody stopped the job that configures them",
			Next: "re-run the failed jobs of this run"}
	}
	return nil
}

func badResult(value, reason string) error {
	fe := &provision.FieldError{Field: "result", Value: value, Reason: reason}
	return &provision.Error{Class: provision.Invalid, Text: fe.Error(), Err: fe}
}

// only returns the steps that are left to this run: with a result the completion alone, and
// without it when a job that went well is completed later. A failure is told at once.
func (req request) only(list []pipeline.Step) []pipeline.Step {
	last := &list[len(list)-1]
	if req.result != "" {
		return list[len(list)-1:]
	}
	if req.later {
		last.Skip = func(r *pipeline.Run) string {
			if r.Err != nil {
				return ""
			}
			return "left to a later step, as the input completion says"
		}
	}
	return list
}
