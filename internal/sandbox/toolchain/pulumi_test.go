package toolchain_test

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/sandbox/toolchain"
)

// program uses every resource of the provider, in the way that a stack with its own server does.
const program = `
name: prego
runtime: yaml
variables:
  key:
    fn::invoke:
      function: hcloud:getSshKey
      arguments: {name: ops}
resources:
  net:
    type: hcloud:Network
    properties: {name: acme, ipRange: 10.1.0.0/16, labels: {managed-by: prego}}
  sub:
    type: hcloud:NetworkSubnet
    properties: {networkId: "${net.id}", type: cloud, networkZone: ap-southeast, ipRange: 10.1.1.0/24}
  wall:
    type: hcloud:Firewall
    properties:
      name: acme
      rules:
        - {direction: in, protocol: tcp, port: "443", sourceIps: [0.0.0.0/0, "::/0"]}
  spread:
    type: hcloud:PlacementGroup
    properties: {name: acme, type: spread}
  app:
    type: hcloud:Server
    properties:
      name: acme-app
      serverType: cpx22
      image: ubuntu-24.04
      location: sin
      sshKeys: ["${key.name}"]
      firewallIds: ["${wall.id}"]
      placementGroupId: ${spread.id}
      networks: [{subnetId: "${sub.id}"}]
outputs:
  server_ip: ${app.ipv4Address}
  server_id: ${app.id}
`

// The tools that Ensure gives work together: the real engine runs a YAML program, finds the
// provider on PATH, takes it for the vendor's, and changes nothing when run again.
func TestPulumi(t *testing.T) {
	t.Parallel()
	all := tools(t, toolchain.Pulumi, toolchain.YAML, toolchain.Provider)
	s := standIn()
	s.AddSSHKey("secret", "ops", publicKey)
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	dir, state := t.TempDir(), t.TempDir()
	put(t, filepath.Join(dir, "Pulumi.yaml"), program, 0o644)
	pulumi := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(all.Pulumi, append(args, "--non-interactive", "--cwd", dir)...)
		cmd.Env = []string{
			"PATH=" + all.Dir, "HOME=" + state, "PULUMI_HOME=" + state, "PULUMI_BACKEND_URL=file://" + state,
			"PULUMI_CONFIG_PASSPHRASE=x", "PULUMI_SKIP_UPDATE_CHECK=1", "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true",
			"HCLOUD_TOKEN=secret", "HCLOUD_ENDPOINT=" + web.URL + "/v1", "HCLOUD_POLL_INTERVAL=5ms", "TMPDIR=" + os.TempDir(),
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("pulumi %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	pulumi("stack", "init", "dev")
	pulumi("up", "--yes", "--skip-preview", "--stack", "dev")
	servers := s.Servers("secret")
	if len(servers) != 1 || servers[0].Status != "running" || len(servers[0].PrivateIPs) != 1 {
		t.Fatalf("servers are %+v", servers)
	}
	var outputs map[string]any
	if err := json.Unmarshal([]byte(pulumi("stack", "output", "--json", "--stack", "dev")), &outputs); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"server_ip": servers[0].IPv4, "server_id": jsonOf(servers[0].ID)}
	if diff := cmp.Diff(want, outputs); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	before := s.Mutations("secret")
	pulumi("up", "--yes", "--skip-preview", "--stack", "dev", "--expect-no-changes", "--refresh")
	if n := s.Mutations("secret") - before; n != 0 {
		t.Errorf("the second up changed %d things", n)
	}
	pulumi("destroy", "--yes", "--skip-preview", "--stack", "dev")
	for kind, names := range s.Names("secret") {
		if kind != "ssh_keys" && len(names) > 0 {
			t.Errorf("%s left over: %v", kind, names)
		}
	}
}
