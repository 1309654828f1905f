package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// Addresses is all that one needs to speak to a sandbox that is up, from another process.
type Addresses struct {
	ControlPlane string `json:"control_plane"`
	GitHub       string `json:"github"`
	Hetzner      string `json:"hetzner"`
	Cloudflare   string `json:"cloudflare"`
	Edge         string `json:"edge"`
	PulumiState  string `json:"pulumi_state"`
	Programs     string `json:"programs"` // the folder with our own commands
	Path         string `json:"path"`     // that folder, and the one with pulumi
	Ledger       string `json:"ledger"`   // the dispatcher's DATABASE_URL

	InternalAPIKey   string `json:"internal_api_key"`
	GitHubToken      string `json:"github_token"`
	HetznerToken     string `json:"hetzner_token"`
	CloudflareToken  string `json:"cloudflare_token"`
	PulumiPassphrase string `json:"pulumi_passphrase"`
}

// Addresses returns those of s.
func (s *Sandbox) Addresses() Addresses {
	return Addresses{
		ControlPlane: s.ControlPlaneURL, GitHub: s.GitHubURL, Hetzner: s.HetznerURL, Cloudflare: s.CloudflareURL,
		Edge: s.EdgeURL, Ledger: "sqlite://" + filepath.Join(s.dir, "dispatcher.db"), PulumiState: s.StateURL, Programs: s.programs, Path: s.programs + string(filepath.ListSeparator) + s.tools,
		InternalAPIKey: s.key, GitHubToken: s.githubToken, HetznerToken: s.hetznerToken,
		CloudflareToken: s.cloudflareToken, PulumiPassphrase: s.passphrase,
	}
}

// addressFile is where a sandbox that is up leaves its addresses for [Find].
func addressFile() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "provision-tenant", "sandbox.json"), nil
}

// Announce lets [Find] find s until it is closed.
func (s *Sandbox) Announce() error {
	name, err := addressFile()
	if err != nil {
		return err
	}
	data, err := json.Marshal(s.Addresses())
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		return err
	}
	s.onClose(func() {
		if now, err := os.ReadFile(name); err == nil && bytes.Equal(now, data) { // another may have announced itself since
			_ = os.Remove(name)
		}
	})
	return nil
}

// Find returns the addresses of the sandbox that is up. It answers [provision.NotFound] if none is.
func Find(ctx context.Context) (Addresses, error) {
	var a Addresses
	name, err := addressFile()
	if err != nil {
		return a, err
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return a, provision.Errorf(provision.NotFound, "no sandbox is up")
	}
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("%s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.ControlPlane+"/healthz", nil)
	if err != nil {
		return a, fmt.Errorf("%s: %w", name, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, provision.Errorf(provision.NotFound, "no sandbox is up: the last one was killed")
	}
	return a, resp.Body.Close()
}

// environment is what our commands need to speak to the sandbox.
func (a Addresses) environment() []string {
	return []string{
		"CONTROL_PLANE_URL=" + a.ControlPlane,
		"INTERNAL_API_KEY=" + a.InternalAPIKey,
		"GITHUB_TOKEN=" + a.GitHubToken,
		"DATABASE_URL=" + a.Ledger,
		"GITHUB_API_URL=" + a.GitHub,
		"GITHUB_WORKFLOW_DISPATCH_URL=" + a.GitHub + "/repos/" + repository + "/actions/workflows/" + workflow + "/dispatches",
	}
}

// settings are what the action needs besides, to be run by hand.
func (a Addresses) settings() []string {
	return []string{
		"HCLOUD_TOKEN_SG=" + a.HetznerToken,
		"HCLOUD_ENDPOINT=" + a.Hetzner,
		"PULUMI_BACKEND_URL=" + a.PulumiState,
		"PULUMI_CONFIG_PASSPHRASE=" + a.PulumiPassphrase,
		"CLOUDFLARE_API_TOKEN=" + a.CloudflareToken,
		"CLOUDFLARE_ZONE_NAME=" + zoneName,
		"CLOUDFLARE_API_BASE_URL=" + a.Cloudflare,
	}
}

// Print shows where everything answers, and commands to paste.
func (a Addresses) Print(out io.Writer) {
	auth := `-H "Authorization: Bearer $INTERNAL_API_KEY"`
	fmt.Fprintf(out, `
The sandbox is up until Ctrl-C.

  control plane  %s   (the API's description is at /docs)
  GitHub         %s
  Hetzner        %s
  Cloudflare     %s
  tenants' edge  %s   (send a Host header)
  Pulumi state   %s

Paste this first:

`, a.ControlPlane, a.GitHub, a.Hetzner, a.Cloudflare, a.Edge, a.PulumiState)
	for _, e := range append(a.environment(), a.settings()...) {
		fmt.Fprintln(out, "  export "+e)
	}
	fmt.Fprintf(out, "  export PATH=%s:$PATH\n", a.Path)
	fmt.Fprintf(out, `
Where would a tenant land?

  curl -s %[1]s -d '{"plan_tier":"basic","region":"sg"}' -H 'Content-Type: application/json' $CONTROL_PLANE_URL/internal/placement/compute

Enqueue one, and look at its job:

  curl -s %[1]s -H 'Content-Type: application/json' -H 'Idempotency-Key: 1' -d '{"plan_tier":"basic","region":"sg","subdomain_slug":"dahlia"}' $CONTROL_PLANE_URL/internal/tenants/dahlia-4/enqueue-provision
  curl -s %[1]s $CONTROL_PLANE_URL/internal/provision-jobs
  curl -s %[1]s $CONTROL_PLANE_URL/internal/nodes

Does it answer on its hostname?

  curl -s -H 'Host: dahlia.%[2]s' %[3]s

Send a message of your own (inside the checkout), or send it once more and see that nothing is made twice:

  echo '{"job_id":"job_hand_1","tenant_id":"elm-5","region":"sg","create_new_server":"true","target_server_id":"","subdomain_slug":"elm","canonical_hostname":"elm.%[2]s"}' > message.json
  dispatcher convert message.json
  dispatcher dispatch message.json
  go run ./cmd/sandbox run message.json

Run one job again, by its run (run_id is in the list of jobs):

  curl -s -X POST -H "Authorization: Bearer $GITHUB_TOKEN" $GITHUB_API_URL/repos/%[4]s/actions/runs/RUN_ID/rerun

Run the action by hand: only plan it, or do it, as often as you like:

  provision-tenant --mode plan message.json
  provision-tenant message.json
`, auth, zoneName, a.Edge, repository)
}
