package main

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
	"github.com/pregoi/provision-tenant/internal/stackprogram"
)

// An input is something that the action takes: INPUT_NAME in the runner, --name on a laptop.
type input struct {
	name     string
	fallback string // what an empty input means
	usage    string
}

// inputs are those of action.yml; a test holds the two together.
var inputs = []input{
	{"job_id", "", "the job, as the control plane names it"},
	{"tenant_id", "", "the tenant's canonical id"},
	{"region", "", "sg, us or eu"},
	{"create_new_server", "false", "whether a server is to be created when target_server_id is empty"},
	{"target_server_id", "", "the node_id of the server to use; Pulumi does not run then"},
	{"subdomain_slug", "", "the label that the tenant chose for its hostname"},
	{"canonical_hostname", "", "the tenant's full hostname"},
	{"dedicated", "false", "whether the tenant gets a stack of three servers of its own"},
	{"trace_id", "", "the trace that the events belong to (trace_…)"},
	{"mode", "apply", "apply, or plan, which changes nothing and says what would be done"},
	{"step", "all", "all, or the name of one step"},
	{"completion", "now", "now, or later, which leaves the completion of a job that went well to another step"},
	{"result", "", "the output result of that earlier step, with step provision_complete"},
	{"outcome", "success", "what became of the job in between: success, failure, cancelled or skipped"},
	{"pulumi_repo", "", "git repository of the Pulumi program; empty for the built-in one"},
	{"pulumi_ref", "main", "branch, tag or full commit of pulumi_repo"},
	{"pulumi_repo_token", "", "a token that may read pulumi_repo (better given as INPUT_PULUMI_REPO_TOKEN than as a flag)"},
	{"pulumi_organization", "", "the organisation of the stacks, where the backend has them"},
	{"pulumi_oidc_organization", "", "the organisation at Pulumi Cloud that gives the run a short-lived token for its ID token"},
	{"pulumi_oidc_scope", "", "what that token may do: empty, admin, team:NAME or user:LOGIN"},
	{"pulumi_lock_timeout", "10m", "how long to wait for a stack that another update holds"},
	{"timeout_minutes", "55", "how long the whole run may take; keep it below the job's own timeout-minutes, so that it can say how it ended"},
	{"server_type", "", "server type of new servers, or several in the order in which they are tried (cpx22|cx33), for all regions or for each (sg=…,us=…,eu=…)"},
	{"db_server_type", "", "the same for the database server of a dedicated stack; empty for server_type"},
	{"redis_server_type", "", "the same for the Redis server of a dedicated stack; empty for server_type"},
	{"server_location", "", "Hetzner location of new servers, or several (nbg1|fsn1), for all regions or for each; all are tried with the first type, then with the next"},
	{"server_image", "", "image of new servers"},
	{"ssh_key_name", "", "name of an SSH key in the Hetzner project that new servers get"},
	{"ssh_from", "", "who may connect to port 22 of new servers, as CIDRs separated by commas; empty for everybody"},
	{"dns_proxied", "true", "whether Cloudflare proxies the tenant's record"},
	{"dns_takeover", "false", "whether a record of another owner may be overwritten"},
	{"reserved_names", "", "names below the zone that no tenant gets, separated by commas"},
}

// secretInputs are masked before anything is printed.
var secretInputs = []string{"pulumi_repo_token"}

// A request is what the inputs ask for.
type request struct {
	job        provision.Job
	traceGiven string // the trace_id as it was given; job.TraceID is empty if it was dropped

	options pipeline.Options
	unclear bool // mode or step is wrong: perhaps nothing of the job was to be done
	dns     pipeline.DNSPolicy

	later           bool   // the completion is left to another step
	result, outcome string // of what came before; result is empty when nothing did

	repo, ref, repoToken string
	organization         string
	oidc                 pulumi.Exchange // of no organisation: PULUMI_ACCESS_TOKEN is used
	lockTimeout          time.Duration
	timeout              time.Duration // of the whole run

	order   provision.Order // of new servers
	sshFrom []string
}

// maxMinutes is the longest that a job may take, on a runner of one's own: 5 days.
// https://docs.github.com/actions/reference/limits
const maxMinutes = 5 * 24 * 60

// usesPulumi reports whether the stack is going to be looked at.
func (req request) usesPulumi() bool {
	return req.job.TargetServerID == "" && req.result == "" && req.options.Only != "select_stack"
}

// parseInputs reads a request. The error names every input that is wrong.
func parseInputs(get func(name string) string) (request, error) {
	var errs []error
	bad := func(name, reason string) {
		errs = append(errs, &provision.FieldError{Field: name, Value: get(name), Reason: reason})
	}
	value := func(name string) string {
		if v := strings.TrimSpace(get(name)); v != "" {
			return v
		}
		i := slices.IndexFunc(inputs, func(in input) bool { return in.name == name })
		return inputs[i].fallback
	}
	flag := func(name string) bool {
		v := value(name)
		if v != "true" && v != "false" {
			bad(name, `is neither "true" nor "false"`)
		}
		return v == "true"
	}
	job, jobErr := provision.ParseJob(value)
	choices := func(name string) []string {
		m, err := parsePerRegion(value(name))
		if err != nil {
			bad(name, err.Error())
		}
		return m[job.Region]
	}
	req := request{
		job:          job,
		traceGiven:   value("trace_id"),
		repo:         value("pulumi_repo"),
		ref:          value("pulumi_ref"),
		repoToken:    value("pulumi_repo_token"),
		organization: value("pulumi_organization"),
		oidc:         pulumi.Exchange{Organization: value("pulumi_oidc_organization"), Scope: value("pulumi_oidc_scope")},
		order: provision.Order{
			Locations: choices("server_location"),
			Types:     choices("server_type"),
			DBTypes:   choices("db_server_type"), RedisTypes: choices("redis_server_type"),
			Image: value("server_image"), SSHKey: value("ssh_key_name"),
		},
		dns: pipeline.DNSPolicy{
			Proxied:  flag("dns_proxied"),
			Takeover: flag("dns_takeover"),
			Reserved: provision.ReservedNames(),
		},
	}
	for from := range strings.SplitSeq(value("ssh_from"), ",") {
		if from = strings.TrimSpace(from); from == "" {
			continue
		}
		if _, err := netip.ParsePrefix(from); err != nil {
			bad("ssh_from", fmt.Sprintf("has the part %q, which is no CIDR such as 198.51.100.0/24", from))
		}
		req.sshFrom = append(req.sshFrom, from)
	}
	if err := req.oidc.Check(); err != nil && (req.oidc.Organization != "" || req.oidc.Scope != "") {
		bad("pulumi_oidc_organization", "with pulumi_oidc_scope: "+err.Error())
	}
	if names := value("reserved_names"); names != "" {
		req.dns.Reserved = strings.Split(names, ",")
	}
	switch value("mode") {
	case "apply":
	case "plan":
		req.options.Plan = true
	default:
		bad("mode", "is neither apply nor plan")
		req.unclear = true
	}
	switch step := value("step"); {
	case step == "all":
	case slices.Contains(stepNames, step):
		req.options.Only = step
	default:
		bad("step", "is neither all nor one of "+strings.Join(stepNames, ", "))
		req.unclear = true
	}
	switch value("completion") {
	case "now":
	case "later":
		req.later = true
	default:
		bad("completion", "is neither now nor later")
	}
	if req.result, req.outcome = value("result"), value("outcome"); req.result != "" && req.options.Only != "provision_complete" {
		bad("result", "is for the step provision_complete alone")
	}
	if !slices.Contains([]string{"success", "failure", "cancelled", "skipped"}, req.outcome) {
		bad("outcome", "is none of success, failure, cancelled and skipped")
	}
	d, err := time.ParseDuration(value("pulumi_lock_timeout"))
	if err != nil || d <= 0 {
		bad("pulumi_lock_timeout", "is no duration such as 10m")
	}
	req.lockTimeout = d
	minutes, err := strconv.ParseFloat(value("timeout_minutes"), 64)
	if err != nil || !(minutes > 0 && minutes <= maxMinutes) {
		bad("timeout_minutes", "is no number of minutes above 0")
	}
	req.timeout = time.Duration(minutes * float64(time.Minute))

	if err := errors.Join(append([]error{jobErr}, errs...)...); err != nil {
		var texts []string
		for _, fe := range provision.FieldErrors(err) {
			texts = append(texts, fe.Error())
		}
		return req, &provision.Error{Class: provision.Invalid, Text: "inputs: " + strings.Join(texts, "; "), Err: err}
	}
	return req, nil
}

// stepNames are the names that the input step takes; a test holds them and the list of
// steps together.
var stepNames = []string{"resolve_node", "select_stack", "pulumi_up", "register_node", "tenant_dns", "provision_complete"}

// ordered is what new servers shall be. A program of one's own decides for itself what the
// inputs leave open, and takes no image and no SSH key from them.
func (req request) ordered() provision.Order {
	o := req.order
	if !req.job.Dedicated {
		o.DBTypes, o.RedisTypes = nil, nil
	}
	if req.repo == "" {
		return stackprogram.Complete(o, req.job.Region)
	}
	o.Image, o.SSHKey = "", ""
	return o
}

// parsePerRegion reads choices for every region, or a list such as sg=sin,eu=nbg1|fsn1.
func parsePerRegion(s string) (map[placement.Region][]string, error) {
	m := map[placement.Region][]string{}
	if s == "" {
		return m, nil
	}
	if !strings.Contains(s, "=") {
		list, err := parseChoices(s)
		for _, r := range placement.Regions() {
			m[r] = list
		}
		return m, err
	}
	for part := range strings.SplitSeq(s, ",") {
		name, v, ok := strings.Cut(strings.TrimSpace(part), "=")
		r := placement.Region(strings.TrimSpace(name))
		if !ok || !r.Valid() {
			return m, fmt.Errorf("has the part %.80q, which is not region=value", part)
		}
		if m[r] != nil {
			return m, fmt.Errorf("has region %s twice", r)
		}
		list, err := parseChoices(v)
		if err != nil {
			return m, err
		}
		m[r] = list
	}
	return m, nil
}

// vendorName is how Hetzner names a location and a server type.
var vendorName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// parseChoices reads names in the order in which they are tried, such as nbg1|fsn1.
func parseChoices(s string) ([]string, error) {
	var list []string
	for name := range strings.SplitSeq(s, "|") {
		if name = strings.TrimSpace(name); !vendorName.MatchString(name) {
			return nil, fmt.Errorf("has %.80q where a name such as nbg1 or cpx22 has to be", name)
		}
		if slices.Contains(list, name) {
			return nil, fmt.Errorf("has %s twice", name)
		}
		list = append(list, name)
	}
	return list, nil
}
