package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A setting is an environment variable that the action reads.
type setting struct {
	name   string
	secret bool
	usage  string
}

// settings are all of them; the README's table and the workflow are held to this list by tests.
var settings = []setting{
	{"CONTROL_PLANE_URL", false, "where the control plane is"},
	{"INTERNAL_API_KEY", true, "the control plane's key for /internal routes"},
	{"HCLOUD_TOKEN_SG", true, "Hetzner API token of the project for sg, and for every region without its own"},
	{"HCLOUD_TOKEN_US", true, "Hetzner API token for us"},
	{"HCLOUD_TOKEN_EU", true, "Hetzner API token for eu"},
	{"HCLOUD_ENDPOINT", false, "another endpoint of the Hetzner API"},
	{"PULUMI_ACCESS_TOKEN", true, "token for Pulumi Cloud"},
	{"PULUMI_BACKEND_URL", false, "a backend of one's own, such as s3://… or file://…"},
	{"PULUMI_CONFIG_PASSPHRASE", true, "passphrase of the stacks' secrets on such a backend"},
	{"CLOUDFLARE_API_TOKEN", true, "token with Zone:Read and DNS:Edit for the zone"},
	{"CLOUDFLARE_ZONE_ID", false, "the zone, by id"},
	{"CLOUDFLARE_ZONE_NAME", false, "the zone, by name"},
	{"CLOUDFLARE_API_BASE_URL", false, "another endpoint of the Cloudflare API"},
}

// A config is what the environment says.
type config struct {
	controlPlaneURL, internalAPIKey string

	hcloudToken, hcloudEndpoint string
	hcloudFallback              bool // the region has no token of its own

	pulumiToken, pulumiBackend, pulumiPassphrase string

	cloudflareToken, zoneID, zoneName, cloudflareURL string
}

// parseConfig reads what req needs from the environment. The error names all that is missing.
func parseConfig(req request, getenv func(string) string) (config, error) {
	env := func(name string) string { return strings.TrimSpace(getenv(name)) }
	var errs []error
	need := func(ok bool, names, why string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s is not set: %s", names, why))
		}
	}
	region := req.job.Region
	own := env("HCLOUD_TOKEN_" + strings.ToUpper(string(region)))
	c := config{
		controlPlaneURL:  env("CONTROL_PLANE_URL"),
		internalAPIKey:   env("INTERNAL_API_KEY"),
		hcloudToken:      cmp.Or(own, env("HCLOUD_TOKEN_SG")),
		hcloudFallback:   own == "" && region != placement.SG,
		hcloudEndpoint:   env("HCLOUD_ENDPOINT"),
		pulumiToken:      env("PULUMI_ACCESS_TOKEN"),
		pulumiBackend:    env("PULUMI_BACKEND_URL"),
		pulumiPassphrase: env("PULUMI_CONFIG_PASSPHRASE"),
		cloudflareToken:  env("CLOUDFLARE_API_TOKEN"),
		zoneID:           env("CLOUDFLARE_ZONE_ID"),
		zoneName:         strings.TrimSuffix(env("CLOUDFLARE_ZONE_NAME"), "."),
		cloudflareURL:    env("CLOUDFLARE_API_BASE_URL"),
	}
	if req.options.Only == "select_stack" {
		return c, nil // needs nothing from outside
	}
	need(c.controlPlaneURL != "", "CONTROL_PLANE_URL", "nodes, traces and completions go to the control plane")
	need(c.internalAPIKey != "", "INTERNAL_API_KEY", "the control plane asks for it")
	if req.usesPulumi() {
		need(c.hcloudToken != "", "HCLOUD_TOKEN_"+strings.ToUpper(string(region))+" or HCLOUD_TOKEN_SG", "a server is to be created at Hetzner")
		need(c.pulumiToken != "" || c.pulumiBackend != "" || req.oidc.Organization != "",
			"PULUMI_ACCESS_TOKEN or PULUMI_BACKEND_URL", "the stack's state is kept there, unless pulumi_oidc_organization is given")
	}
	if req.options.Only == "" || req.options.Only == "tenant_dns" {
		need(c.cloudflareToken != "", "CLOUDFLARE_API_TOKEN", "the tenant's record is made at Cloudflare")
		need(c.zoneID != "" || c.zoneName != "", "CLOUDFLARE_ZONE_ID or CLOUDFLARE_ZONE_NAME", "it says which zone the record is made in")
	}
	if c.zoneName != "" && (req.options.Only == "" || req.options.Only == "tenant_dns") {
		// What can be refused without asking anybody is refused before anything is made.
		if err := provision.CheckHostname(req.job.CanonicalHostname, c.zoneName, req.dns.Reserved); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return c, provision.Errorf(provision.Invalid, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return c, nil
}

// secrets returns every secret that the action was given, wherever it came from.
func secrets(getenv, get func(string) string) []string {
	var list []string
	for _, s := range settings {
		if s.secret {
			list = append(list, strings.TrimSpace(getenv(s.name)))
		}
	}
	for _, name := range secretInputs {
		list = append(list, strings.TrimSpace(get(name)))
	}
	for _, name := range otherSecrets {
		list = append(list, strings.TrimSpace(getenv(name)))
	}
	for _, name := range urls {
		list = append(list, urlSecrets(getenv(name))...)
	}
	return append(list, urlSecrets(get("pulumi_repo"))...)
}

// urls are the variables that hold a URL, in which there may be a password.
var urls = []string{
	"CONTROL_PLANE_URL", "HCLOUD_ENDPOINT", "PULUMI_BACKEND_URL", "CLOUDFLARE_API_BASE_URL",
	"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy",
}

// urlSecrets returns the password in a URL, or of one over http the user who has none, which
// is a token then; as it stands there, and decoded. It takes what is no URL to the letter too:
// a proxy needs no scheme, and of an ill-formed one an error may hold a part.
func urlSecrets(s string) []string {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(s), "://")
	if !ok {
		scheme, rest = "", scheme
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return nil
	}
	secret, password, ok := strings.Cut(rest[:at], ":")
	switch {
	case ok:
		secret = password
	case scheme != "http" && scheme != "https":
		return nil // whom ssh shall be
	}
	list := []string{secret}
	if plain, err := url.PathUnescape(secret); err == nil && plain != secret {
		list = append(list, plain)
	}
	return list
}

// otherSecrets are what the runner's own environment holds, and what opens a backend of
// Pulumi's; see passedToPulumi in internal/pulumi.
var otherSecrets = []string{
	"GITHUB_TOKEN", "ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
	"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_CREDENTIALS", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN",
}
