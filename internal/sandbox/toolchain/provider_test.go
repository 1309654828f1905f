package toolchain_test

import (
	"bufio"
	"encoding/json"
	"maps"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	hcloudsdk "github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
	"github.com/pregoi/provision-tenant/internal/sandbox/toolchain"
)

const (
	serverType    = "hcloud:index/server:Server"
	networkType   = "hcloud:index/network:Network"
	subnetType    = "hcloud:index/networkSubnet:NetworkSubnet"
	firewallType  = "hcloud:index/firewall:Firewall"
	placementType = "hcloud:index/placementGroup:PlacementGroup"
	keyType       = "hcloud:index/sshKey:SshKey"

	publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE5Lz0hMr1z3zHqSg0h4YfzBk4dWl0F0Zq0n9nq0Yk2m somebody"
)

// tools builds what is needed, or finds it in the cache of the user.
func tools(t *testing.T, need ...toolchain.Tool) toolchain.Tools {
	t.Helper()
	tools, err := toolchain.Ensure(t.Context(), toolchain.Options{
		Need: need, Progress: func(line string) { t.Log(line) }, Path: t.TempDir(), // nothing that happens to be installed
	})
	if err != nil {
		t.Fatal(err)
	}
	return tools
}

func standIn() *hetzner.Server {
	return hetzner.New(hetzner.Options{Tokens: map[string]hetzner.Token{"secret": {Project: "p"}}, ActionTime: 8 * time.Millisecond})
}

// A plugin is the provider, running, as Pulumi's engine talks to it.
type plugin struct {
	t *testing.T
	pulumirpc.ResourceProviderClient
}

// start runs the provider against s.
func start(t *testing.T, s *hetzner.Server) plugin {
	t.Helper()
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	cmd := exec.Command(filepath.Join(tools(t, toolchain.Provider).Dir, string(toolchain.Provider)))
	cmd.Env = []string{"HCLOUD_POLL_INTERVAL=2ms"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("127.0.0.1:"+strings.TrimSpace(port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := plugin{t, pulumirpc.NewResourceProviderClient(conn)}
	_, err = p.Configure(t.Context(), &pulumirpc.ConfigureRequest{
		Args: p.object(map[string]any{"token": "secret", "endpoint": web.URL + "/v1"}), AcceptSecrets: true, AcceptResources: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p plugin) object(m map[string]any) *structpb.Struct {
	p.t.Helper()
	s, err := structpb.NewStruct(m)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func urn(kind, name string) string { return "urn:pulumi:dev::test::" + kind + "::" + name }

// create checks the inputs and makes the resource, as the engine does.
func (p plugin) create(kind, name string, inputs map[string]any) (*pulumirpc.CreateResponse, error) {
	p.t.Helper()
	checked, err := p.Check(p.t.Context(), &pulumirpc.CheckRequest{Urn: urn(kind, name), News: p.object(inputs), RandomSeed: []byte("seed")})
	if err != nil {
		return nil, err
	}
	for _, f := range checked.Failures {
		p.t.Fatalf("check %s: %s: %s", name, f.Property, f.Reason)
	}
	return p.Create(p.t.Context(), &pulumirpc.CreateRequest{Urn: urn(kind, name), Properties: checked.Inputs})
}

func (p plugin) mustCreate(kind, name string, inputs map[string]any) (id string, state map[string]any) {
	p.t.Helper()
	resp, err := p.create(kind, name, inputs)
	if err != nil {
		p.t.Fatalf("create %s: %v", name, err)
	}
	return resp.Id, resp.Properties.AsMap()
}

// change is what the provider thinks of new inputs.
func (p plugin) change(kind, id string, state, old, new map[string]any) *pulumirpc.DiffResponse {
	p.t.Helper()
	diff, err := p.Diff(p.t.Context(), &pulumirpc.DiffRequest{
		Id: id, Urn: urn(kind, "x"), Olds: p.object(state), OldInputs: p.object(old), News: p.object(new),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return diff
}

func (p plugin) update(kind, id string, state, old, new map[string]any) (map[string]any, error) {
	resp, err := p.Update(p.t.Context(), &pulumirpc.UpdateRequest{
		Id: id, Urn: urn(kind, "x"), Olds: p.object(state), OldInputs: p.object(old), News: p.object(new),
	})
	if err != nil {
		return nil, err
	}
	return resp.Properties.AsMap(), nil
}

func with(m map[string]any, key string, value any) map[string]any {
	m = maps.Clone(m)
	m[key] = value
	return m
}

func number(t *testing.T, id string) int {
	t.Helper()
	var n int
	if err := json.Unmarshal([]byte(id), &n); err != nil {
		t.Fatalf("ID %q: %v", id, err)
	}
	return n
}

// The life of a dedicated stack's resources, through the calls that the engine makes.
func TestProvider(t *testing.T) {
	t.Parallel()
	s := standIn()
	s.AddSSHKey("secret", "ops", publicKey)
	p := start(t, s)

	key, err := p.Invoke(t.Context(), &pulumirpc.InvokeRequest{Tok: "hcloud:index/getSshKey:getSshKey", Args: p.object(map[string]any{"name": "ops"})})
	if err != nil || key.Return.AsMap()["publicKey"] != publicKey {
		t.Fatalf("getSshKey: %v, %v", key, err)
	}
	network, networkState := p.mustCreate(networkType, "net", map[string]any{"name": "net", "ipRange": "10.1.0.0/16"})
	subnet, subnetState := p.mustCreate(subnetType, "sub", map[string]any{
		"networkId": number(t, network), "ipRange": "10.1.1.0/24", "networkZone": "ap-southeast", "type": "cloud",
	})
	if subnet != network+"-10.1.1.0/24" || subnetState["gateway"] != "10.1.0.1" {
		t.Errorf("subnet is %s, %v", subnet, subnetState)
	}
	rule := map[string]any{"direction": "in", "protocol": "tcp", "port": "443", "sourceIps": []any{"0.0.0.0/0", "::/0"}}
	wall, wallState := p.mustCreate(firewallType, "wall", map[string]any{"name": "wall", "rules": []any{rule}})
	other, otherState := p.mustCreate(firewallType, "other", map[string]any{"name": "other"})
	group, groupState := p.mustCreate(placementType, "spread", map[string]any{"name": "spread", "type": "spread"})
	inputs := map[string]any{
		"name": "app", "serverType": "cpx22", "image": "ubuntu-24.04", "location": "sin", "sshKeys": []any{"ops"},
		"labels": map[string]any{"managed-by": "prego"}, "firewallIds": []any{number(t, wall)}, "placementGroupId": number(t, group),
		"networks": []any{map[string]any{"networkId": number(t, network), "ip": "10.1.1.7"}},
	}
	id, state := p.mustCreate(serverType, "app", inputs)
	got := s.Servers("secret")[0]
	if got.Status != "running" || got.PrivateIPs[int64(number(t, network))] != "10.1.1.7" || got.PlacementGroup != int64(number(t, group)) {
		t.Errorf("server is %+v", got)
	}
	if state["ipv4Address"] != got.IPv4 || state["ipv6Address"] != strings.TrimSuffix(got.IPv6, "/64")+"1" || state["status"] != "running" || id != jsonOf(got.ID) {
		t.Errorf("server %+v has id %s, state %v", got, id, state)
	}

	for property, replaces := range map[string]bool{"image": true, "location": true, "userData": true, "serverType": false, "name": false} {
		diff := p.change(serverType, id, state, inputs, with(inputs, property, "changed"))
		if diff.Changes != pulumirpc.DiffResponse_DIFF_SOME || (len(diff.Replaces) > 0) != replaces {
			t.Errorf("change of %s: %v, replaces %v; want replace %v", property, diff.Changes, diff.Replaces, replaces)
		}
	}
	if diff := p.change(serverType, id, state, inputs, inputs); diff.Changes == pulumirpc.DiffResponse_DIFF_SOME {
		t.Errorf("change without a change: %v", diff)
	}

	changed := with(with(inputs, "labels", map[string]any{"managed-by": "prego", "role": "app"}), "serverType", "cpx32")
	changed = with(with(changed, "firewallIds", []any{number(t, other)}), "networks", []any{})
	if state, err = p.update(serverType, id, state, inputs, changed); err != nil {
		t.Fatal(err)
	}
	want := got
	want.Labels = map[string]string{"managed-by": "prego", "role": "app"}
	want.Type, want.Firewalls, want.PrivateIPs = "cpx32", []int64{int64(number(t, other))}, map[int64]string{}
	if diff := cmp.Diff(want, s.Servers("secret")[0]); diff != "" {
		t.Errorf("updated server (-want +got):\n%s", diff)
	}
	if _, err := p.update(firewallType, wall, wallState, map[string]any{"name": "wall", "rules": []any{rule}}, map[string]any{"name": "wall2", "rules": []any{with(rule, "port", "80")}}); err != nil {
		t.Fatal(err)
	}
	if got := s.Names("secret")["firewalls"]; !slices.Equal(got, []string{"other", "wall2"}) {
		t.Errorf("firewalls are %v", got)
	}

	for _, r := range []struct {
		kind, id string
		state    map[string]any
	}{
		{serverType, id, state}, {subnetType, subnet, subnetState}, {networkType, network, networkState},
		{firewallType, wall, wallState}, {firewallType, other, otherState}, {placementType, group, groupState},
	} {
		for range 2 { // what has gone already is as good as deleted
			if _, err := p.Delete(t.Context(), &pulumirpc.DeleteRequest{Id: r.id, Urn: urn(r.kind, "x"), Properties: p.object(r.state)}); err != nil {
				t.Errorf("delete %s %s: %v", r.kind, r.id, err)
			}
		}
		read, err := p.Read(t.Context(), &pulumirpc.ReadRequest{Id: r.id, Urn: urn(r.kind, "x")})
		if err != nil || read.Id != "" {
			t.Errorf("read deleted %s: %v, %v", r.kind, read, err)
		}
	}
	left := map[string][]string{"servers": {}, "networks": {}, "firewalls": {}, "placement_groups": {}, "ssh_keys": {"ops"}}
	if diff := cmp.Diff(left, s.Names("secret")); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
}

func jsonOf(v any) string {
	data, _ := json.Marshal(v)
	return string(data)
}

// A server that Pulumi does not know yet can be imported by its ID alone; one that it does
// know, from a program's inputs, is read without inventing a difference.
func TestProviderRead(t *testing.T) {
	t.Parallel()
	s := standIn()
	s.AddSSHKey("secret", "ops", publicKey)
	p := start(t, s)
	inputs := map[string]any{
		"name": "app", "serverType": "cpx22", "image": "ubuntu-24.04", "sshKeys": []any{"ops"}, "userData": "#cloud-config",
		"labels": map[string]any{"managed-by": "prego"},
	}
	id, state := p.mustCreate(serverType, "app", inputs)

	read, err := p.Read(t.Context(), &pulumirpc.ReadRequest{Id: id, Urn: urn(serverType, "app")})
	if err != nil {
		t.Fatal(err)
	}
	imported := read.Inputs.AsMap()
	want := map[string]any{"name": "app", "serverType": "cpx22", "image": "ubuntu-24.04", "location": "fsn1", "labels": map[string]any{"managed-by": "prego"}}
	if diff := cmp.Diff(want, imported); diff != "" {
		t.Errorf("imported inputs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(state["ipv4Address"], read.Properties.AsMap()["ipv4Address"]); diff != "" {
		t.Errorf("imported address (-want +got):\n%s", diff)
	}

	read, err = p.Read(t.Context(), &pulumirpc.ReadRequest{Id: id, Urn: urn(serverType, "app"), Inputs: p.object(inputs), Properties: p.object(state)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(inputs, read.Inputs.AsMap()); diff != "" {
		t.Errorf("refreshed inputs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(state, read.Properties.AsMap()); diff != "" {
		t.Errorf("refreshed state (-want +got):\n%s", diff)
	}
}

// An error has the vendor's code in it, and a server that exists is never lost by one.
func TestProviderErrors(t *testing.T) {
	t.Parallel()
	s := standIn()
	p := start(t, s)
	inputs := map[string]any{"name": "app", "serverType": "cpx22", "image": "ubuntu-24.04", "location": "sin"}
	p.mustCreate(serverType, "app", inputs)
	_, err := p.create(serverType, "second", inputs)
	if err == nil || !strings.Contains(err.Error(), "server name is already used (uniqueness_error, ") {
		t.Errorf("name in use: %v", err)
	}
	_, err = p.create(serverType, "second", with(inputs, "sshKeys", []any{"nobody"}))
	if err == nil || !strings.Contains(err.Error(), "SSH key not found: nobody") {
		t.Errorf("unknown key: %v", err)
	}

	s.FailActions("create_server", "server_error", "the host is gone")
	_, err = p.create(serverType, "broken", with(inputs, "name", "broken"))
	var failed *pulumirpc.ErrorResourceInitFailed
	for _, d := range status.Convert(err).Details() {
		failed, _ = d.(*pulumirpc.ErrorResourceInitFailed)
	}
	if failed == nil || failed.Id != jsonOf(s.Servers("secret")[1].ID) || !strings.Contains(failed.Reasons[0], "the host is gone (server_error") {
		t.Errorf("half made: %v, %v", err, failed)
	}
}

// A name that the program leaves out is made from the resource's, and kept.
func TestProviderNames(t *testing.T) {
	t.Parallel()
	p := start(t, standIn())
	check := func(olds, news map[string]any) map[string]any {
		resp, err := p.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urn(networkType, "net"), Olds: p.object(olds), News: p.object(news)})
		if err != nil {
			t.Fatal(err)
		}
		return resp.Inputs.AsMap()
	}
	news := map[string]any{"ipRange": "10.0.0.0/16"}
	first := check(nil, news)
	name := first["name"].(string)
	if !strings.HasPrefix(name, "net-") || len(name) != len("net-0123456") {
		t.Errorf("name is %q", name)
	}
	if again := check(first, news)["name"]; again != name {
		t.Errorf("name was %q, is %q", name, again)
	}
}

// What a program can say of a resource, it can say to the vendor's plugin in the same words.
func TestProviderSpeaksTheVendorsNames(t *testing.T) {
	t.Parallel()
	p := start(t, standIn())
	resp, err := p.GetSchema(t.Context(), &pulumirpc.GetSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	type properties map[string]json.RawMessage
	var schema struct {
		Version   string
		Resources map[string]struct{ Properties, InputProperties properties }
		Functions map[string]struct {
			Inputs, Outputs struct{ Properties properties }
		}
	}
	if err := json.Unmarshal([]byte(resp.Schema), &schema); err != nil {
		t.Fatal(err)
	}
	names := func(v any) []string {
		var names []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			names = append(names, f.Tag.Get("pulumi"))
		}
		return names
	}
	vendor := map[string]any{
		serverType: hcloudsdk.Server{}, networkType: hcloudsdk.Network{}, subnetType: hcloudsdk.NetworkSubnet{},
		firewallType: hcloudsdk.Firewall{}, placementType: hcloudsdk.PlacementGroup{}, keyType: hcloudsdk.SshKey{},
	}
	if got := slices.Sorted(maps.Keys(schema.Resources)); !slices.Equal(got, slices.Sorted(maps.Keys(vendor))) {
		t.Errorf("resources are %v", got)
	}
	for kind, r := range schema.Resources {
		theirs := names(vendor[kind])
		for _, list := range []properties{r.Properties, r.InputProperties} {
			for name := range list {
				if !slices.Contains(theirs, name) {
					t.Errorf("%s: the vendor has no property %s", kind, name)
				}
			}
		}
	}
	lookup, ok := schema.Functions["hcloud:index/getSshKey:getSshKey"]
	if !ok {
		t.Fatal("no function getSshKey")
	}
	theirs := names(hcloudsdk.LookupSshKeyResult{})
	for _, list := range []properties{lookup.Inputs.Properties, lookup.Outputs.Properties} {
		for name := range list {
			if !slices.Contains(theirs, name) {
				t.Errorf("getSshKey: the vendor has no property %s", name)
			}
		}
	}
	if schema.Version != "1.41.0" {
		t.Errorf("version is %q", schema.Version)
	}
}
