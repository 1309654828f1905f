package main

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
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
	{"DATABASE_URL", false, "sqlite://PATH; a file in the user's state directory when not set"},
	{"INTERNAL_API_KEY", true, "what callers of /internal routes must bear, at least 32 characters"},
	{"SKIP_INTERNAL_API_AUTH", false, "true lets callers in without it, on a loopback listener only"},
	{"TENANT_DOMAIN", false, "what tenants' hostnames end in; pregoi.com when not set"},
	{"PLACEMENT_MEMORY_PCT_MAX", false, "a node with more memory in use gets no new tenant; 80 when not set"},
	{"PLACEMENT_MAX_TENANTS_PER_NODE", false, "nor does one with as many tenants; 40 when not set"},
	{"PLACEMENT_METRICS_MAX_AGE", false, "nor one whose metrics are older; 15m when not set"},
	{"PLACEMENT_DEFAULT_REGION", false, "sg, us or eu, of an order that names none; sg when not set"},
	{"GITHUB_TOKEN", true, "a token that may start the workflow"},
	{"GITHUB_WORKFLOW_DISPATCH_URL", false, "https://api.github.com/repos/OWNER/NAME/actions/workflows/FILE/dispatches, in place of --repo and --workflow"},
	{"GITHUB_API_URL", false, "another address of GitHub's API, with --repo"},
	{"CONTROL_PLANE_URL", false, "the control plane that the command placement asks"},
}

func settingsHelp() string {
	var b strings.Builder
	b.WriteString("Environment:\n")
	for _, s := range settings {
		fmt.Fprintf(&b, "  %-31s %s\n", s.name, s.usage)
	}
	return b.String()
}

// A config is what the environment says to serve.
type config struct {
	database   string // a file's path
	key        string
	skipAuth   bool
	domain     string
	thresholds placement.Thresholds

	githubToken, githubAPI, dispatchURL string
}

// parseConfig reads the environment. The error names all that is wrong.
func parseConfig(getenv func(string) string) (config, error) {
	env := func(name string) string { return strings.TrimSpace(getenv(name)) }
	p := parser{env: env}
	c := config{
		key:         env("INTERNAL_API_KEY"),
		domain:      strings.ToLower(cmp.Or(env("TENANT_DOMAIN"), "pregoi.com")),
		thresholds:  p.thresholds(),
		githubToken: env("GITHUB_TOKEN"),
		githubAPI:   env("GITHUB_API_URL"),
		dispatchURL: env("GITHUB_WORKFLOW_DISPATCH_URL"),
	}
	switch v := env("SKIP_INTERNAL_API_AUTH"); v {
	case "", "false", "0":
	case "true", "1":
		c.skipAuth = true
	default:
		p.bad("SKIP_INTERNAL_API_AUTH", "is neither true nor false")
	}
	if c.key == "" && !c.skipAuth {
		p.errs = append(p.errs, fmt.Errorf("INTERNAL_API_KEY is not set: callers of /internal routes must bear it"))
	}
	c.database = p.database(getenv)
	return c, invalid(p.errs)
}

// parser reads settings and remembers what was wrong.
type parser struct {
	env  func(string) string
	errs []error
}

func (p *parser) bad(name, why string) {
	p.errs = append(p.errs, fmt.Errorf("%s %q %s", name, p.env(name), why))
}

func (p *parser) thresholds() placement.Thresholds {
	t := placement.DefaultThresholds()
	if v := p.env("PLACEMENT_MEMORY_PCT_MAX"); v != "" {
		f, err := strconv.ParseFloat(v, 64)
		if t.MemoryPctMax = f; err != nil || !(f > 0 && f <= 100) {
			p.bad("PLACEMENT_MEMORY_PCT_MAX", "is no percentage above 0")
		}
	}
	if v := p.env("PLACEMENT_MAX_TENANTS_PER_NODE"); v != "" {
		n, err := strconv.Atoi(v)
		if t.MaxTenantsPerNode = n; err != nil || n < 1 {
			p.bad("PLACEMENT_MAX_TENANTS_PER_NODE", "is no number above 0")
		}
	}
	if v := p.env("PLACEMENT_METRICS_MAX_AGE"); v != "" {
		d, err := time.ParseDuration(v)
		if t.MetricsMaxAge = d; err != nil || d <= 0 {
			p.bad("PLACEMENT_METRICS_MAX_AGE", "is no duration such as 15m")
		}
	}
	if v := p.env("PLACEMENT_DEFAULT_REGION"); v != "" {
		if t.DefaultRegion = placement.Region(v); !t.DefaultRegion.Valid() {
			p.bad("PLACEMENT_DEFAULT_REGION", "is not sg, us or eu")
		}
	}
	return t
}

// database returns the path of the database's file. What DATABASE_URL holds is not
// repeated in an error: the one of a server has a password in it.
func (p *parser) database(getenv func(string) string) string {
	v := p.env("DATABASE_URL")
	scheme, path, _ := strings.Cut(v, "://")
	switch {
	case v == "":
		state := getenv("XDG_STATE_HOME")
		if home := getenv("HOME"); !filepath.IsAbs(state) && home != "" {
			state = filepath.Join(home, ".local", "state")
		}
		if !filepath.IsAbs(state) {
			p.errs = append(p.errs, fmt.Errorf("DATABASE_URL is not set, and without HOME there is no place for its file"))
		}
		return filepath.Join(state, "provision-tenant", "controlplane.db")
	case scheme == "postgres" || scheme == "postgresql":
		p.errs = append(p.errs, fmt.Errorf("DATABASE_URL names a Postgres server, which this version cannot use yet: use sqlite://PATH"))
	case scheme != "sqlite" || path == "":
		p.errs = append(p.errs, fmt.Errorf("DATABASE_URL is not like sqlite://PATH"))
	default:
		unescaped, err := url.PathUnescape(path)
		if err != nil || strings.ContainsAny(path, "?#") || strings.HasSuffix(unescaped, string(os.PathSeparator)) {
			p.errs = append(p.errs, fmt.Errorf("DATABASE_URL is not like sqlite://PATH: the path has a query, or is no file's"))
		}
		return unescaped
	}
	return ""
}
