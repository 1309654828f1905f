package pulumi_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi-hcloud/sdk/go/hcloud"
	sdk "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
)

// careless is a program that protects nothing: one server for each of the nodes that
// keep does not leave out.
func careless(serverType, image string, keep func(key string) bool) sdk.RunFunc {
	return func(ctx *sdk.Context) error {
		var nodes []string
		list, _ := ctx.GetConfig("prego:nodes")
		if err := json.Unmarshal([]byte(list), &nodes); err != nil {
			return err
		}
		all := sdk.Map{}
		for _, key := range nodes {
			if !keep(key) {
				continue
			}
			server, err := hcloud.NewServer(ctx, "node-"+key, &hcloud.ServerArgs{
				Name: sdk.String("careless-" + key), ServerType: sdk.String(serverType), Image: sdk.String(image),
				Location: sdk.String("nbg1"), Labels: sdk.StringMap{"managed-by": sdk.String("prego"), "of": sdk.String(serverType)},
			})
			if err != nil {
				return err
			}
			all[key] = sdk.Map{"server_id": server.ID(), "server_ip": server.Ipv4Address}
		}
		ctx.Export("nodes", all)
		return nil
	}
}

func every(string) bool { return true }

func TestGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.program(t)
	p.Inline = careless("cpx22", "ubuntu-24.04", every)
	up(t, p, shared("job-1"))
	up(t, p, shared("job-2"))
	servers := w.Servers(token)
	for name, test := range map[string]struct {
		program sdk.RunFunc
		job     string
		says    string
	}{
		"delete":           {careless("cpx22", "ubuntu-24.04", func(key string) bool { return key != "job-1" }), "job-3", "delete hcloud:index/server:Server node-job-1"},
		"replace":          {careless("cpx22", "debian-12", every), "job-2", "replace hcloud:index/server:Server node-job-1"},
		"resize another's": {careless("cpx32", "ubuntu-24.04", every), "job-2", "another node's server, because of its labels, serverType"},
	} {
		t.Run(name, func(t *testing.T) {
			p := w.program(t)
			p.Inline = test.program
			before := w.Mutations(token)
			_, err := p.Up(t.Context(), shared(test.job), "sg")
			if provision.ClassOf(err) != provision.Conflict || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Up: %v, want a conflict that says %q", err, test.says)
			}
			if _, perr := p.Preview(t.Context(), shared(test.job), "sg"); provision.ClassOf(perr) != provision.Conflict {
				t.Errorf("Preview: %v, want a conflict", perr)
			}
			if n := w.Mutations(token) - before; n != 0 {
				t.Errorf("Hetzner was asked for %d changes", n)
			}
		})
	}
	if diff := cmp.Diff(servers, w.Servers(token)); diff != "" {
		t.Errorf("servers (-before +after):\n%s", diff)
	}
}

// TestStackMoves has another job finish between a job's preview and its update, which
// is then held to a plan that knows nothing of the other's server.
func TestStackMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.program(t)
	other.Inline = careless("cpx22", "ubuntu-24.04", every)
	up(t, other, shared("job-1"))

	var once sync.Once
	p := w.program(t)
	p.Inline = func(ctx *sdk.Context) error {
		if ctx.DryRun() {
			once.Do(func() {
				done := make(chan error)
				go func() { // the Automation API refuses to be nested, by a look at the call stack
					_, err := other.Up(t.Context(), shared("job-2"), "sg")
					done <- err
				}()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		}
		return careless("cpx22", "ubuntu-24.04", every)(ctx)
	}
	up(t, p, shared("job-3"))
	wantNames(t, w, "careless-job-1", "careless-job-2", "careless-job-3")
	for call, n := range w.Calls() {
		if strings.HasPrefix(call, "DELETE ") {
			t.Errorf("%s was called %d times", call, n)
		}
	}
	before := w.Mutations(token)
	for _, job := range []string{"job-1", "job-2", "job-3"} {
		up(t, other, shared(job))
	}
	if n := w.Mutations(token) - before; n != 0 {
		t.Errorf("the stack had lost something: Hetzner was asked for %d changes", n)
	}
}

// TestNameOf takes whatever stands where a URN should.
func TestNameOf(t *testing.T) {
	t.Parallel()
	for urn, want := range map[string]string{"urn:pulumi:sg::prego::hcloud:index/server:Server::node-job-1": "node-job-1", "": "", "x": "x", "::": "", "x::": ""} {
		if got := pulumi.NameOf(urn); got != want {
			t.Errorf("NameOf(%q) = %q, want %q", urn, got, want)
		}
	}
}
