package stackprogram_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"pgregory.net/rapid"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/stackprogram"
)

// An engine answers a program as Pulumi would, and remembers what it declared.
type engine struct {
	mu   sync.Mutex
	args []pulumi.MockResourceArgs
}

func (e *engine) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.args = append(e.args, args)
	outputs := args.Inputs.Copy()
	outputs["ipv4Address"] = resource.NewStringProperty("203.0.113.1")
	return fmt.Sprint(len(e.args)), outputs, nil
}

func (e *engine) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

// declared runs the program with a config and returns what it declares, by name.
func declared(s stackprogram.Settings, config map[string]string) (map[string]pulumi.MockResourceArgs, error) {
	e := &engine{}
	with := map[string]string{}
	for name, value := range config {
		with["prego:"+name] = value
	}
	err := pulumi.RunErr(stackprogram.Program(s), pulumi.WithMocks("prego", "stack", e), func(info *pulumi.RunInfo) { info.Config = with })
	m := map[string]pulumi.MockResourceArgs{}
	for _, a := range e.args {
		m[a.Name] = a
	}
	return m, err
}

func shared(t interface{ Fatal(...any) }, s stackprogram.Settings, job string, nodes ...string) map[string]pulumi.MockResourceArgs {
	list, err := json.Marshal(nodes)
	if err != nil {
		t.Fatal(err)
	}
	m, err := declared(s, map[string]string{"job_id": job, "tenant_id": "acme", "region": "sg", "dedicated": "false", "nodes": string(list)})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func dedicated(t interface{ Fatal(...any) }, s stackprogram.Settings, tenant string, more ...string) map[string]pulumi.MockResourceArgs {
	config := map[string]string{"job_id": "job-1", "tenant_id": tenant, "region": "us", "dedicated": "true"}
	for i := 0; i < len(more); i += 2 {
		config[more[i]] = more[i+1]
	}
	m, err := declared(s, config)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func text(a pulumi.MockResourceArgs, name string) string {
	return a.Inputs[resource.PropertyKey(name)].V.(string)
}

// TestShared declares more nodes than one placement group is meant for.
func TestShared(t *testing.T) {
	nodes := []string{"a", "b", "c", "d", "e", "f", "g"}
	m := shared(t, stackprogram.Settings{}, "g", nodes...)
	want := []string{"firewall", "node-a", "node-b", "node-c", "node-d", "node-e", "node-f", "node-g", "spread-0", "spread-1"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(m))); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
	group := func(node string) float64 { return m[node].Inputs["placementGroupId"].V.(float64) }
	if group("node-f") == group("node-g") || group("node-a") != group("node-f") {
		t.Errorf("the groups of a, f and g are %v, %v and %v", group("node-a"), group("node-f"), group("node-g"))
	}
	for _, key := range nodes {
		labels := m["node-"+key].Inputs["labels"].V.(resource.PropertyMap)
		if own := key == "g"; labels.HasValue("tenant_id") != own || labels.HasValue("job_id") != own {
			t.Errorf("node %s is labelled %v by job g", key, labels)
		}
		if name := text(m["node-"+key], "name"); name != "prego-sg-"+key {
			t.Errorf("node %s is called %s", key, name)
		}
	}
}

func TestSettings(t *testing.T) {
	s := stackprogram.Settings{Image: "debian-12", SSHKey: "ops", SSHFrom: []string{"198.51.100.0/24"}}
	m := dedicated(t, s, "acme", "server_type", "ccx13", "db_server_type", "ccx23", "server_location", "hil")
	if zone := text(m["subnet"], "networkZone"); zone != "us-west" {
		t.Errorf("the servers are at hil, and their network in %s", zone)
	}
	for role, serverType := range map[string]string{"app": "ccx13", "db": "ccx23", "redis": "ccx13"} {
		got := []string{text(m[role], "serverType"), text(m[role], "image"), text(m[role], "location"), fmt.Sprint(m[role].Inputs["sshKeys"].Mappable())}
		if diff := cmp.Diff([]string{serverType, "debian-12", "hil", "[ops]"}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", role, diff)
		}
	}
	for _, firewall := range []string{"firewall", "firewall-inner"} {
		for _, v := range m[firewall].Inputs["rules"].V.([]resource.PropertyValue) {
			rule := v.Mappable().(map[string]any)
			if limited := fmt.Sprint(rule["sourceIps"]) == "[198.51.100.0/24]"; limited != (rule["port"] == "22") {
				t.Errorf("%s lets in %v", firewall, rule)
			}
			if firewall == "firewall-inner" && (rule["port"] == "80" || rule["port"] == "443") {
				t.Errorf("the database can be reached: %v", rule)
			}
		}
	}
	plain := dedicated(t, stackprogram.Settings{}, "acme")
	if zone := text(plain["subnet"], "networkZone"); zone != "us-east" {
		t.Errorf("with the zero settings the network is in %s", zone)
	}
	if _, is := plain["app"].Inputs["sshKeys"]; is || text(plain["app"], "location") != "ash" || text(plain["app"], "serverType") != "cpx21" {
		t.Errorf("with the zero settings the app is %v", plain["app"].Inputs)
	}
}

// TestChoice is what a caller says of a shared stack's new server.
func TestChoice(t *testing.T) {
	m, err := declared(stackprogram.Settings{}, map[string]string{"job_id": "j", "tenant_id": "t", "region": "eu", "nodes": `["i","j"]`,
		"server_type": "cx33", "server_location": "fsn1", "db_server_type": "ccx23"})
	if err != nil {
		t.Fatal(err)
	}
	if got := text(m["node-j"], "serverType") + " at " + text(m["node-j"], "location"); got != "cx33 at fsn1" {
		t.Errorf("the server is a %s, want cx33 at fsn1", got)
	}
}

func TestComplete(t *testing.T) {
	own := provision.Order{Locations: []string{"fsn1"}, Types: []string{"cx33", "cx43"}, Image: "debian-12", SSHKey: "ops"}
	for _, test := range []struct {
		order  provision.Order
		region placement.Region
		want   provision.Order
	}{
		{provision.Order{}, placement.SG, provision.Order{Locations: []string{"sin"}, Types: []string{"cpx22"}, Image: "ubuntu-24.04"}},
		{provision.Order{}, placement.US, provision.Order{Locations: []string{"ash", "hil"}, Types: []string{"cpx21"}, Image: "ubuntu-24.04"}},
		{provision.Order{Types: []string{"cx33"}, SSHKey: "ops"}, placement.EU,
			provision.Order{Locations: []string{"nbg1", "fsn1", "hel1"}, Types: []string{"cx33"}, Image: "ubuntu-24.04", SSHKey: "ops"}},
		{own, placement.EU, own},
		{provision.Order{}, "mars", provision.Order{}},
	} {
		if diff := cmp.Diff(test.want, stackprogram.Complete(test.order, test.region)); diff != "" {
			t.Errorf("%+v in %s (-want +got):\n%s", test.order, test.region, diff)
		}
	}
}

// TestConfig refuses what it cannot work with, before it declares anything.
func TestConfig(t *testing.T) {
	good := map[string]string{"job_id": "j", "tenant_id": "t", "region": "sg", "nodes": `["j"]`}
	for name, value := range map[string]string{"job_id": "", "tenant_id": "", "region": "mars", "nodes": "j"} {
		config := maps.Clone(good)
		config[name] = value
		m, err := declared(stackprogram.Settings{}, config)
		if err == nil || len(m) > 0 {
			t.Errorf("with %s %q: %v, and declared %d resources", name, value, err, len(m))
		}
	}
}

// TestNames checks that names are host names, and that no two tenants share one.
func TestNames(t *testing.T) {
	valid := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}`)
		a, b := id.Draw(t, "a"), id.Draw(t, "b")
		if rapid.Bool().Draw(t, "alike") {
			b = a + "x"
		}
		names := map[string]bool{}
		for _, tenant := range []string{a, b} {
			for _, r := range dedicated(t, stackprogram.Settings{}, tenant) {
				if r.TypeToken != "hcloud:index/server:Server" {
					continue
				}
				name := text(r, "name")
				if !valid.MatchString(name) {
					t.Fatalf("%s is no host name", name)
				}
				if a != b && names[name] {
					t.Fatalf("%s is of tenant %q and of %q", name, a, b)
				}
				names[name] = true
			}
		}
		key := provision.Job{ID: a}.NodeKey()
		if name := text(shared(t, stackprogram.Settings{}, a, key)["node-"+key], "name"); !valid.MatchString(name) || !strings.HasSuffix(name, key) {
			t.Fatalf("%s is no host name for node %s", name, key)
		}
	})
}
