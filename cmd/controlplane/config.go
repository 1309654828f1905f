package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
)

// A setting is an environment variable that the control plane reads.
type setting struct {
	name   string
	secret bool
	usage  string
}

// settings are all of them; the README's table is held to this list by a test.
var settings = []setting{
	{"DATABASE_URL", false, "sqlite://PATH, or postgres://USER:PASSWORD@HOST/NAME for several control planes on one database; a file in the user's state directory when not set"},
	{"INTERNAL_API_KEY", true, "what callers of /internal routes must bear, at least 32 characters"},
	{"SKIP_INTERNAL_API_AUTH", false, "true lets callers in without it, on a loopback listener only"},
	{"TENANT_DOMAIN", false, "what tenants' hostnames end in; pregoi.com when not set"},
	{"MAX_CONNECTIONS", false, "how many connections are open at a time; 1024 when not set"},
	{"PUBLIC_TIERS", false, "the tiers that POST /v1/tenants gives without the key; free,basic when not set"},
	{"PUBLIC_ORDERS_PER_MINUTE", false, "how many such orders one address may send; 10 when not set, 0 for any number"},
	{"PUBLIC_ORDERS_BURST", false, "how many of them at once; 10 when not set"},
	{"PUBLIC_ORDERS_PER_HOUR", false, "how many of them all addresses together may send; 300 when not set, 0 for any number"},
	{"TRUSTED_PROXIES", false, "addresses and networks, separated by commas, whose X-Forwarded-For is believed; none when not set"},
	{"STRIPE_WEBHOOK_SECRET", true, "the signing secret of the endpoint /webhooks/stripe; without it Stripe's events are not taken"},
	{"PLACEMENT_MEMORY_PCT_MAX", false, "a node with more memory in use gets no new tenant; 80 when not set"},
	{"PLACEMENT_MAX_TENANTS_PER_NODE", false, "nor does one with as many tenants; 40 when not set"},
	{"PLACEMENT_METRICS_MAX_AGE", false, "nor one whose metrics are older; 15m when not set"},
	{"PLACEMENT_DEFAULT_REGION", false, "sg, us or eu, of an order that names none; sg when not set"},
	{"TRIGGER", false, "who starts runs: in_process (when not set), dispatcher, or queue"},
	{"GITHUB_TOKEN", true, "a token that may start the workflow; with any TRIGGER, the sweeper reads runs with it"},
	{"GITHUB_WORKFLOW_DISPATCH_URL", false, "https://api.github.com/repos/OWNER/NAME/actions/workflows/FILE/dispatches, in place of --repo and --workflow"},
	{"GITHUB_API_URL", false, "another address of GitHub's API, with --repo"},
	{"DISPATCHER_URL", false, "with TRIGGER=dispatcher, where it is: jobs go to POST /dispatch there"},
	{"DISPATCHER_API_KEY", true, "the key that the dispatcher takes; INTERNAL_API_KEY when not set"},
	{"CLOUDFLARE_ACCOUNT_ID", false, "with TRIGGER=queue, the account of the Cloudflare Queue"},
	{"CLOUDFLARE_QUEUE_ID", false, "the queue's id"},
	{"CLOUDFLARE_API_TOKEN", true, "a token with Queues:Edit"},
	{"CLOUDFLARE_API_BASE_URL", false, "another endpoint of the Cloudflare API"},
	{"SWEEP_NOT_STARTED_AFTER", false, "a job that has not reported so long after its dispatch is asked about at GitHub; 15m when not set"},
	{"SWEEP_SILENT_AFTER", false, "and so is a running one that was silent for so long; 30m when not set"},
	{"SWEEP_LOST_AFTER", false, "a job that has no run so long after its dispatch has failed; when not set 15m, or 97h where its message may wait in a queue"},
	{"CONTROL_PLANE_URL", false, "the control plane that the commands placement and node ask"},
}

func settingsHelp() string {
	var b strings.Builder
	b.WriteString("Environment:\n")
	for _, s := range settings {
		fmt.Fprintf(&b, "  %-30s %s\n", s.name, s.usage)
	}
	return b.String()
}

// A config is what the environment says to serve.
type config struct {
	database       database
	key            string
	skipAuth       bool
	domain         string
	maxConnections int
	publicTiers    []placement.Tier
	perMinute      int
	burst          int
	perHour        int
	proxies        []netip.Prefix
	stripe         string
	thresholds     placement.Thresholds
	trigger        triggerConfig
	sweep          sweepConfig
}

// A triggerConfig says who starts runs.
type triggerConfig struct {
	kind                                           string // what TRIGGER can be
	githubToken, githubAPI, dispatchURL            string
	dispatcherURL, dispatcherKey                   string
	queueAccount, queueID, queueToken, queueAPIURL string
}

// What TRIGGER can be.
const (
	inProcess  = "in_process"
	dispatcher = "dispatcher"
	queue      = "queue"
)

// A sweepConfig says when a job is overdue; see server.Sweep.
type sweepConfig struct{ notStarted, silent, lost time.Duration }

// queueLife is longer than a message waits in a Cloudflare Queue, by default.
// https://developers.cloudflare.com/queues/platform/limits/
const queueLife = 97 * time.Hour

// parseConfig reads the environment. The error names all that is wrong.
func parseConfig(getenv func(string) string) (config, error) {
	env := func(name string) string { return strings.TrimSpace(getenv(name)) }
	p := &parser{env: env}
	c := config{
		key:            env("INTERNAL_API_KEY"),
		skipAuth:       p.flag("SKIP_INTERNAL_API_AUTH"),
		domain:         strings.ToLower(cmp.Or(env("TENANT_DOMAIN"), "pregoi.com")),
		maxConnections: p.number("MAX_CONNECTIONS", 1024, 1),
		publicTiers:    p.tiers("PUBLIC_TIERS", placement.Free, placement.Basic),
		perMinute:      p.number("PUBLIC_ORDERS_PER_MINUTE", 10, 0),
		burst:          p.number("PUBLIC_ORDERS_BURST", 10, 1),
		perHour:        p.number("PUBLIC_ORDERS_PER_HOUR", 300, 0),
		proxies:        p.networks("TRUSTED_PROXIES"),
		stripe:         env("STRIPE_WEBHOOK_SECRET"),
		thresholds:     p.thresholds(),
		trigger:        p.trigger(),
	}
	for _, n := range []*int{&c.perMinute, &c.perHour} {
		if *n == 0 {
			*n = -1 // the server's word for any number
		}
	}
	lost := 15 * time.Minute
	if c.trigger.kind != inProcess {
		lost = queueLife
	}
	c.sweep = sweepConfig{
		notStarted: p.duration("SWEEP_NOT_STARTED_AFTER", 15*time.Minute),
		silent:     p.duration("SWEEP_SILENT_AFTER", 30*time.Minute),
		lost:       p.duration("SWEEP_LOST_AFTER", lost),
	}
	if c.key == "" && !c.skipAuth {
		p.errs = append(p.errs, fmt.Errorf("INTERNAL_API_KEY is not set: callers of /internal routes must bear it"))
	}
	c.database = p.database(getenv)
	return c, invalid(p.errs)
}
