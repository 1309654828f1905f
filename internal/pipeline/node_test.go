package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// target is the node that placed asks for, changed by change.
func target(change func(*provision.Node)) provision.Node {
	n := provision.Node{ID: "hz-sg-7", Region: placement.SG, Host: "192.0.2.7", Status: provision.NodeActive, Provider: "hetzner"}
	change(&n)
	return n
}

func TestResolveNode(t *testing.T) {
	for _, test := range []struct {
		name  string
		node  provision.Node
		class provision.Class
		texts []string // of the refusal: what was expected, and what was found
	}{
		{"fit", target(func(*provision.Node) {}), "", nil},
		{"dedicated to the tenant itself", target(func(n *provision.Node) { n.Dedicated, n.TenantID = true, "acme-1" }), "", nil},
		{"another region", target(func(n *provision.Node) { n.Region = placement.EU }), provision.Invalid,
			[]string{"node hz-sg-7", "expected region sg", "found eu"}},
		{"draining", target(func(n *provision.Node) { n.Status = provision.NodeDraining }), provision.Invalid,
			[]string{"node hz-sg-7", "expected status active", "found draining"}},
		{"no status", target(func(n *provision.Node) { n.Status = "" }), provision.Invalid, []string{"expected status active"}},
		{"dedicated to another", target(func(n *provision.Node) { n.Dedicated, n.TenantID = true, "rival" }), provision.Conflict,
			[]string{"node hz-sg-7", "tenant acme-1", "dedicated to tenant rival"}},
		{"dedicated to nobody", target(func(n *provision.Node) { n.Dedicated = true }), provision.Conflict, []string{"expected a shared node"}},
		{"no host", target(func(n *provision.Node) { n.Host = "" }), provision.Invalid, []string{"has no host"}},
		{"other hosts", target(func(n *provision.Node) { n.Host, n.DBHost, n.RedisHost = "node-7.internal", "2001:db8::7", "db_1" }), provision.Invalid, []string{`"db_1" is neither`}},
		{"names and addresses", target(func(n *provision.Node) { n.Host, n.DBHost, n.RedisHost = "node-7.internal", "2001:db8::7", "db" }), "", nil},
		{"an expression of Ansible's", target(func(n *provision.Node) { n.DBHost = "{{ lookup('pipe', 'id') }}" }), provision.Invalid, []string{"node hz-sg-7", "neither an address nor the name"}},
		{"and where an address may have one", target(func(n *provision.Node) { n.RedisHost = "fe80::1%{{x}}" }), provision.Invalid, []string{"neither an address nor the name"}},
		{"another node than asked for", target(func(n *provision.Node) { n.ID = "hz-sg-8" }), provision.Internal, []string{"hz-sg-7", "hz-sg-8"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRun(placed())
			step := pipeline.ResolveNode(func(_ context.Context, id string) (provision.Node, error) {
				if id != "hz-sg-7" {
					t.Errorf("the control plane was asked for node %q", id)
				}
				return test.node, nil
			})
			if reason := step.Skip(r); reason != "" {
				t.Errorf("Skip = %q, want to go ahead", reason)
			}
			_, err := step.Do(t.Context(), r)
			wantError(t, err, test.class, test.texts...)
			want := test.node
			if test.class != "" {
				want = provision.Node{} // what was refused is not used
			}
			if diff := cmp.Diff(want, r.Node); diff != "" {
				t.Errorf("the run's node (-want +got)\n%s", diff)
			}
		})
	}
}

func TestResolveNodeNotFound(t *testing.T) {
	step := pipeline.ResolveNode(func(context.Context, string) (provision.Node, error) {
		return provision.Node{}, provision.Errorf(provision.NotFound, "no such node")
	})
	_, err := step.Do(t.Context(), newRun(placed()))
	wantError(t, err, provision.NotFound, "no such node")
}

// A job with a target uses it and nothing else; a job without one never asks for a node.
func TestWhatIsSkipped(t *testing.T) {
	both := placed()
	both.CreateNewServer = true // the target wins
	steps := []pipeline.Step{pipeline.ResolveNode(nil), pipeline.SelectStack(), pipeline.PulumiUp(nil, nil, provision.Order{}), pipeline.RegisterNode(nil)}
	for _, test := range []struct {
		job  provision.Job
		want []bool
	}{
		{placed(), []bool{false, true, true, true}},
		{both, []bool{false, true, true, true}},
		{shared(), []bool{true, false, false, false}},
		{enterprise(), []bool{true, false, false, false}},
	} {
		for i, s := range steps {
			if reason := s.Skip(newRun(test.job)); (reason != "") != test.want[i] {
				t.Errorf("%s of a job with target %q is skipped because of %q, want skipped %t", s.Name, test.job.TargetServerID, reason, test.want[i])
			}
		}
	}
}

func TestSelectStack(t *testing.T) {
	for want, j := range map[string]provision.Job{"sg": shared(), "dedicated-acme-1": enterprise()} {
		r := newRun(j)
		if _, err := pipeline.SelectStack().Do(t.Context(), r); err != nil || r.Stack != want {
			t.Errorf("the stack of a job with dedicated %t is %q, %v; want %q", j.Dedicated, r.Stack, err, want)
		}
	}
}

// fakeNodes are the nodes of a control plane, in memory.
type fakeNodes struct {
	nodes map[string]provision.Node
	posts int // how often a node was sent

	refuse int // posts that fail before they have an effect
	lose   int // posts that have it, and whose answer is lost
	blind  int // looks that fail
}

func (f *fakeNodes) Node(_ context.Context, id string) (provision.Node, error) {
	if f.blind > 0 {
		f.blind--
		return provision.Node{}, provision.Errorf(provision.Busy, "control plane: no answer")
	}
	n, ok := f.nodes[id]
	if !ok {
		return n, provision.Errorf(provision.NotFound, "node %s: not found", id)
	}
	return n, nil
}

func (f *fakeNodes) RegisterNode(_ context.Context, n provision.Node, j provision.Job) error {
	f.posts++
	if f.refuse > 0 {
		f.refuse--
		return provision.Errorf(provision.Busy, "control plane: unavailable")
	}
	if have, ok := f.nodes[n.ID]; ok && have.Host != n.Host {
		return provision.Errorf(provision.Conflict, "node %s: another node has this id", n.ID)
	}
	if f.nodes == nil {
		f.nodes = map[string]provision.Node{}
	}
	f.nodes[n.ID] = n
	if f.lose > 0 {
		f.lose--
		return provision.Errorf(provision.Busy, "control plane: the answer was lost")
	}
	return nil
}

// registering is a run whose server exists, and is the node hz-sg-7.
func registering(j provision.Job) *pipeline.Run {
	r := newRun(j)
	r.Stack = j.StackName()
	r.Servers = []provision.Server{{Role: provision.App, ID: "7", IPv4: "192.0.2.7"}}
	r.Node = target(func(n *provision.Node) {
		if n.Dedicated = j.Dedicated; j.Dedicated {
			n.TenantID = j.TenantID
		}
	})
	return r
}

func TestRegisterNode(t *testing.T) {
	known := map[string]provision.Node{"hz-sg-7": target(func(*provision.Node) {})}
	another := func(change func(*provision.Node)) map[string]provision.Node {
		return map[string]provision.Node{"hz-sg-7": target(change)}
	}
	for _, test := range []struct {
		name  string
		nodes fakeNodes
		posts int
		took  time.Duration
		class provision.Class
		texts []string
	}{
		{"new", fakeNodes{}, 1, 0, "", nil},
		{"registered by an earlier run", fakeNodes{nodes: known}, 0, 0, "", nil},
		{"an answer is lost", fakeNodes{lose: 1}, 1, time.Second, "", nil},
		{"a post is refused", fakeNodes{refuse: 1}, 2, time.Second, "", nil},
		{"two are refused, and the answer to the third is lost", fakeNodes{refuse: 2, lose: 1}, 3, 7 * time.Second, "", nil},
		{"no look is answered at first", fakeNodes{blind: 2}, 1, 3 * time.Second, "", nil},
		{"nothing is ever taken", fakeNodes{refuse: 99}, 4, 7 * time.Second, provision.Busy, []string{"unavailable"}},
		{"nothing is ever answered", fakeNodes{blind: 99}, 0, 7 * time.Second, provision.Busy, []string{"no answer"}},
		{"another host", fakeNodes{nodes: another(func(n *provision.Node) { n.Host = "192.0.2.8" })}, 0, 0, provision.Conflict,
			[]string{"node hz-sg-7", "expected region sg, host 192.0.2.7", "found region sg, host 192.0.2.8"}},
		{"another region", fakeNodes{nodes: another(func(n *provision.Node) { n.Region = placement.EU })}, 0, 0, provision.Conflict,
			[]string{"found region eu"}},
		{"another tenant", fakeNodes{nodes: another(func(n *provision.Node) { n.Dedicated, n.TenantID = true, "rival" })}, 0, 0, provision.Conflict,
			[]string{`found region sg, host 192.0.2.7, tenant "rival"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := test.nodes
				start := time.Now()
				_, err := pipeline.RegisterNode(&nodes).Do(t.Context(), registering(shared()))
				wantError(t, err, test.class, test.texts...)
				if nodes.posts != test.posts {
					t.Errorf("the node was sent %d times, want %d", nodes.posts, test.posts)
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("it took %s, want %s", took, test.took)
				}
				if diff := cmp.Diff(known, nodes.nodes); test.class == "" && diff != "" {
					t.Errorf("the control plane has (-want +got)\n%s", diff)
				}
			})
		})
	}
}

func TestRegisterNodeCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1500*time.Millisecond, cancel)
		nodes := fakeNodes{refuse: 99}
		start := time.Now()
		_, err := pipeline.RegisterNode(&nodes).Do(ctx, registering(shared()))
		wantError(t, err, provision.Cancelled)
		if took := time.Since(start); took != 1500*time.Millisecond || nodes.posts != 2 {
			t.Errorf("it ended after %s and %d posts, want 1.5s and 2", took, nodes.posts)
		}
	})
}

func TestRegisterNodePlan(t *testing.T) {
	planned := newRun(shared()) // no server yet
	for _, test := range []struct {
		run   *pipeline.Run
		nodes fakeNodes
		want  string
		class provision.Class
	}{
		{planned, fakeNodes{}, "register the new server as a node", ""},
		{registering(shared()), fakeNodes{}, "register node hz-sg-7 at 192.0.2.7", ""},
		{registering(enterprise()), fakeNodes{nodes: map[string]provision.Node{"hz-sg-7": registering(enterprise()).Node}}, "", ""},
		{registering(enterprise()), fakeNodes{nodes: map[string]provision.Node{"hz-sg-7": registering(shared()).Node}}, "", provision.Conflict},
		{registering(shared()), fakeNodes{blind: 1}, "", provision.Busy},
	} {
		got, err := pipeline.RegisterNode(&test.nodes).Plan(t.Context(), test.run)
		wantError(t, err, test.class)
		if got != test.want || test.nodes.posts > 0 {
			t.Errorf("Plan = %q and %d posts, want %q and none", got, test.nodes.posts, test.want)
		}
	}
	_, err := pipeline.RegisterNode(&fakeNodes{}).Do(t.Context(), planned)
	wantError(t, err, provision.Invalid, "no server of this job")
}
