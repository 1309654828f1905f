package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A fakeProgram is a Pulumi program whose stack has held servers since its first Up.
type fakeProgram struct {
	makes   []provision.Server
	holds   []provision.Server
	pending []provision.Change
	stacks  []string // that Up was asked to update
	places  []provision.Place
	refuses error // the check
	err     error
}

func (p *fakeProgram) Check(_ context.Context, _ provision.Job, stack string) error {
	if stack == "" {
		return errors.New("which stack?")
	}
	return p.refuses
}

func (p *fakeProgram) Preview(_ context.Context, _ provision.Job, _ string, places ...provision.Place) (provision.StackPlan, error) {
	p.places = places
	return provision.StackPlan{Changes: p.pending, Servers: p.holds}, p.err
}

func (p *fakeProgram) Up(_ context.Context, _ provision.Job, stack string, places ...provision.Place) (provision.StackResult, error) {
	p.places = places
	p.stacks = append(p.stacks, stack)
	changes := p.pending
	if p.err != nil {
		return provision.StackResult{Changes: changes}, p.err
	}
	p.holds, p.pending = p.makes, nil
	return provision.StackResult{Changes: changes, Servers: p.holds}, nil
}

// fakeMachines are servers at their vendor, with their labels.
type fakeMachines struct {
	known  map[string]provision.Server // by ID
	labels map[string]map[string]string
	offer  *provision.Offer // nil for all that is ordered
	full   error            // what the preflight refuses
	writes []bool           // whether each preflight was for something to be made
}

func (m *fakeMachines) Preflight(_ context.Context, _ provision.Job, o provision.Order, write bool) (provision.Offer, error) {
	m.writes = append(m.writes, write)
	if m.offer != nil {
		return *m.offer, m.full
	}
	return provision.Offer{Places: o.Places()}, m.full
}

func (m *fakeMachines) Verify(_ context.Context, j provision.Job, want []provision.Server) ([]provision.Server, error) {
	var list []provision.Server
	for _, s := range want {
		have, ok := m.known[s.ID]
		if !ok {
			return nil, provision.Errorf(provision.NotFound, "server %s is not there", s.ID)
		}
		have.Role = s.Role
		list = append(list, have)
	}
	return list, nil
}

func (m *fakeMachines) Label(_ context.Context, s provision.Server, labels map[string]string) error {
	if have := m.labels[s.ID]["tenant_id"]; have != "" && have != labels["tenant_id"] {
		return provision.Errorf(provision.Conflict, "server %s is tenant %s's", s.ID, have)
	}
	if m.labels == nil {
		m.labels = map[string]map[string]string{}
	}
	m.labels[s.ID] = labels
	return nil
}

var (
	app   = provision.Server{Role: provision.App, ID: "7", IPv4: "192.0.2.7"}
	db    = provision.Server{Role: provision.DB, ID: "8", IPv4: "192.0.2.8"}
	redis = provision.Server{Role: provision.Redis, ID: "9", IPv4: "192.0.2.9"}
)

const serverType = "hcloud:index/server:Server"

// atVendor is app as its vendor knows it: with more than the program exports.
func atVendor() *fakeMachines {
	full := app
	full.Name, full.IPv6, full.Location, full.Type = "sg-job-1", "2001:db8::1", "sin", "cpx22"
	return &fakeMachines{known: map[string]provision.Server{"7": full, "8": db, "9": redis}}
}

func TestPulumiUp(t *testing.T) {
	node := provision.Node{
		ID: "hz-sg-7", Region: placement.SG, Host: "192.0.2.7", IPv6: "2001:db8::1", Status: provision.NodeActive,
		Provider: "hetzner", ProviderServerID: "7",
	}
	own := node
	own.Dedicated, own.TenantID, own.DBHost, own.RedisHost = true, "acme-1", "192.0.2.8", "192.0.2.9"
	labels := func(role string) map[string]string {
		return map[string]string{"tenant_id": "acme-1", "job_id": "job-1", "node_id": "hz-sg-7", "role": role}
	}
	for _, test := range []struct {
		name   string
		job    provision.Job
		makes  []provision.Server
		node   provision.Node
		labels map[string]map[string]string
	}{
		{"shared", shared(), []provision.Server{app}, node, map[string]map[string]string{"7": labels("app")}},
		{"dedicated", enterprise(), []provision.Server{app, db, redis}, own,
			map[string]map[string]string{"7": labels("app"), "8": labels("db"), "9": labels("redis")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			created := []provision.Change{{Op: provision.Create, Type: serverType, Name: "app"}}
			program := &fakeProgram{makes: test.makes, pending: created}
			machines := atVendor()
			r := newRun(test.job)
			r.Stack = test.job.StackName()
			step := pipeline.PulumiUp(program, machines, provision.Order{})

			for try, text := range []string{"1 created", "nothing to change"} {
				did, err := step.Do(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(did, r.Stack) || !strings.Contains(did, text) || !strings.Contains(did, "app server 7 at 192.0.2.7") {
					t.Errorf("run %d did %q, want the stack, %q and the server in it", try+1, did, text)
				}
				if diff := cmp.Diff(test.node, r.Node); diff != "" {
					t.Errorf("run %d: the node (-want +got)\n%s", try+1, diff)
				}
				if diff := cmp.Diff(test.labels, machines.labels); diff != "" {
					t.Errorf("run %d: the labels (-want +got)\n%s", try+1, diff)
				}
				if !r.CreatedServer || len(r.Servers) != len(test.makes) || r.Servers[0].Name != "sg-job-1" {
					t.Errorf("run %d: created %t, servers %+v; want them as their vendor knows them", try+1, r.CreatedServer, r.Servers)
				}
			}
			if diff := cmp.Diff([]string{r.Stack, r.Stack}, program.stacks); diff != "" {
				t.Errorf("updated stacks (-want +got)\n%s", diff)
			}
		})
	}
}

// Labels are made of identifiers that Hetzner would not take.
func TestPulumiUpLabelsAreValid(t *testing.T) {
	r := newRun(shared())
	r.Job.TenantID, r.Job.ID = "acme:1", strings.Repeat("j", 100)
	machines := atVendor()
	if _, err := pipeline.PulumiUp(&fakeProgram{makes: []provision.Server{app}}, machines, provision.Order{}).Do(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for key, value := range machines.labels["7"] {
		if len(value) > 63 || strings.Contains(value, ":") {
			t.Errorf("the label %s is %q, which Hetzner does not take", key, value)
		}
	}
}

func TestPulumiUpFails(t *testing.T) {
	created := []provision.Change{{Op: provision.Create, Type: serverType, Name: "app"}}
	taken := atVendor()
	taken.labels = map[string]map[string]string{"7": {"tenant_id": "rival"}}
	for _, test := range []struct {
		name     string
		program  *fakeProgram
		machines *fakeMachines
		class    provision.Class
		text     string
		servers  int // that the run knows of all the same
	}{
		{"the update fails", &fakeProgram{pending: created, err: provision.Errorf(provision.NoCapacity, "no cpx22 in sin")}, atVendor(),
			provision.NoCapacity, "no cpx22 in sin", 0},
		{"the server is not there", &fakeProgram{makes: []provision.Server{app}, pending: created}, &fakeMachines{},
			provision.NotFound, "server 7", 0},
		{"the server is another tenant's", &fakeProgram{makes: []provision.Server{app}, pending: created}, taken,
			provision.Conflict, "tenant rival's", 1},
		{"the program exports no server", &fakeProgram{pending: created}, atVendor(), provision.Invalid, "stack sg exports no server", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRun(shared())
			r.Stack = "sg"
			_, err := pipeline.PulumiUp(test.program, test.machines, provision.Order{}).Do(t.Context(), r)
			wantError(t, err, test.class, test.text)
			if diff := cmp.Diff(created, r.Changes); diff != "" {
				t.Errorf("what was already changed is told as (-want +got)\n%s", diff)
			}
			if len(r.Servers) != test.servers {
				t.Errorf("the run knows the servers %+v, want %d", r.Servers, test.servers)
			}
		})
	}
}

func TestPulumiUpPlan(t *testing.T) {
	changes := []provision.Change{{Op: provision.Create, Type: serverType, Name: "app"}, {Op: provision.Update, Type: serverType, Name: "db"}}
	for _, test := range []struct {
		name    string
		program *fakeProgram
		want    string
		host    string // of the node that is known already
		class   provision.Class
	}{
		{"new", &fakeProgram{pending: changes}, "stack sg: create " + serverType + " app, update " + serverType + " db", "", ""},
		{"there already", &fakeProgram{holds: []provision.Server{app}}, "", "192.0.2.7", ""},
		{"there, and to be changed", &fakeProgram{holds: []provision.Server{app}, pending: changes[1:]}, "stack sg: update " + serverType + " db", "", ""},
		{"no server and nothing to change", &fakeProgram{}, "stack sg holds no server of this job", "", ""},
		{"a plan that deletes is refused", &fakeProgram{err: provision.Errorf(provision.Conflict, "would delete server 7")}, "", "", provision.Conflict},
		{"gone behind Pulumi's back", &fakeProgram{holds: []provision.Server{{ID: "6"}}}, "", "", provision.NotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRun(shared())
			r.Stack = "sg"
			machines := atVendor()
			got, err := pipeline.PulumiUp(test.program, machines, provision.Order{}).Plan(t.Context(), r)
			wantError(t, err, test.class)
			if got != test.want || r.Node.Host != test.host {
				t.Errorf("Plan = %q and node at %q, want %q and %q", got, r.Node.Host, test.want, test.host)
			}
			if test.program.stacks != nil || machines.labels != nil {
				t.Errorf("the plan updated %q and labelled %v", test.program.stacks, machines.labels)
			}
		})
	}
}

// The check asks the program and the vendor, names what is wrong with both, and what the
// vendor has to give is where the update may go.
func TestPulumiUpChecksFirst(t *testing.T) {
	order := provision.Order{Locations: []string{"nbg1", "fsn1"}, Types: []string{"cpx22"}}
	fsn1 := provision.Place{Location: "fsn1", Type: "cpx22"}
	offer := &provision.Offer{Places: []provision.Place{fsn1}, Skipped: []string{"cpx22 at nbg1 (sold out)"}, Warnings: []string{"nbg1 is left out"}}
	for _, plan := range []bool{false, true} {
		program, machines := &fakeProgram{makes: []provision.Server{app}}, atVendor()
		machines.offer = offer
		r := newRun(shared())
		err := pipeline.Execute(t.Context(), r, pipeline.Options{Plan: plan}, new(trace), pipeline.SelectStack(), pipeline.PulumiUp(program, machines, order))
		wantError(t, err, "")
		if diff := cmp.Diff([]provision.Place{fsn1}, program.places); diff != "" {
			t.Errorf("planned %t: the places (-want +got)\n%s", plan, diff)
		}
		if diff := cmp.Diff(offer.Warnings, r.Warnings); diff != "" {
			t.Errorf("planned %t: the warnings (-want +got)\n%s", plan, diff)
		}
		if diff := cmp.Diff([]bool{!plan}, machines.writes); diff != "" {
			t.Errorf("planned %t: asked whether something may be made (-want +got)\n%s", plan, diff)
		}
	}

	program, machines := &fakeProgram{refuses: provision.Errorf(provision.NotFound, "no such ref")}, atVendor()
	machines.full = provision.Errorf(provision.NoCapacity, "sold out")
	err := pipeline.Execute(t.Context(), newRun(shared()), pipeline.Options{}, new(trace), pipeline.SelectStack(), pipeline.PulumiUp(program, machines, order))
	wantError(t, err, provision.NotFound, "(1) pulumi_up: no such ref", "(2) pulumi_up: sold out")
	if program.stacks != nil {
		t.Errorf("stack %q was updated", program.stacks)
	}

	// A job with a node needs neither.
	r := newRun(placed())
	err = pipeline.Execute(t.Context(), r, pipeline.Options{}, new(trace), pipeline.PulumiUp(program, machines, order))
	wantError(t, err, "")

	// What was not tried is told when there is nothing to be had.
	program, machines = &fakeProgram{err: provision.Errorf(provision.NoCapacity, "no room at fsn1")}, atVendor()
	machines.offer = offer
	err = pipeline.Execute(t.Context(), newRun(shared()), pipeline.Options{}, new(trace), pipeline.SelectStack(), pipeline.PulumiUp(program, machines, order))
	wantError(t, err, provision.NoCapacity, "no room at fsn1; not tried: cpx22 at nbg1 (sold out)")

	// Where only another step is done, nobody has asked the vendor.
	program = &fakeProgram{holds: []provision.Server{app}}
	err = pipeline.Execute(t.Context(), newRun(shared()), pipeline.Options{Only: "register_node"}, new(trace),
		pipeline.SelectStack(), pipeline.PulumiUp(program, atVendor(), order), pipeline.RegisterNode(&fakeNodes{}))
	wantError(t, err, "")
	if diff := cmp.Diff(order.Places(), program.places); diff != "" {
		t.Errorf("the places unasked (-want +got)\n%s", diff)
	}
}
