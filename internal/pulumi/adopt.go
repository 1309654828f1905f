package pulumi

import (
	"context"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/optimport"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A run that was killed while Hetzner made something leaves a pending operation: the
// resource may exist and nobody knows its id. Making it again would make a second one,
// or fail because its name is taken; and where the answer was lost without pulumi being
// killed, the name is taken and nothing is pending. In both cases we look whether there
// is a resource of that name that carries our own marks, and have the engine import it.
//
// The state is never edited: exporting, changing and importing it again would lose what
// another job's update wrote in between. The engine's import works under the lock.

// adoptPending imports what the plan would make although an earlier run has made it. It
// reports whether there was something.
func (s *session) adoptPending(ctx context.Context, plan *report) (bool, error) {
	creates := map[string]apitype.StepEventMetadata{}
	for _, m := range plan.begun {
		if c, ok := change(m); ok && c.Op == provision.Create && m.New != nil && m.New.Custom {
			creates[m.URN] = m
		}
	}
	if len(creates) == 0 || s.fresh || plan.stackIsNew() {
		return false, nil
	}
	if s.state == nil {
		if err := s.export(ctx); err != nil {
			return false, err
		}
	}
	var lost []apitype.StepEventMetadata
	for _, op := range s.state.Pending {
		m, planned := creates[op.Resource.URN]
		if op.Type != "creating" || !planned {
			continue
		}
		// What the provider got then counts: a name that it made up itself is there.
		r := op.Resource
		m.New = &apitype.StepEventStateMetadata{
			Type: r.Type, URN: r.URN, Custom: true, Inputs: r.Inputs, Parent: r.Parent, Provider: r.Provider,
		}
		lost = append(lost, m)
	}
	return s.adopt(ctx, lost)
}

// adopt imports those of the resources that exist at the provider and are ours.
func (s *session) adopt(ctx context.Context, lost []apitype.StepEventMetadata) (bool, error) {
	if s.p.Find == nil {
		return false, nil
	}
	var list []*optimport.ImportResource
	names := map[string]string{}
	seen := map[string]bool{}
	for _, m := range lost {
		c, ok := change(m)
		if !ok || c.Op != provision.Create || m.New == nil || !m.New.Custom || m.New.ID != "" || seen[m.URN] {
			continue
		}
		seen[m.URN] = true
		id, found, err := s.p.Find(ctx, Resource{Type: m.Type, Name: nameOf(m.URN), Inputs: m.New.Inputs})
		if err != nil {
			return false, err
		}
		if !found {
			continue
		}
		s.note("%s %s exists already as %s, made by a run that could not record it: taking it over", m.Type, nameOf(m.URN), id)
		list = append(list, importOf(m, id, names))
	}
	if len(list) == 0 {
		return false, nil
	}
	return true, s.importResources(ctx, list, names)
}

// importOf describes a resource to the import; parents and providers that are not the
// default ones go by names, which it adds to names.
func importOf(m apitype.StepEventMetadata, id string, names map[string]string) *optimport.ImportResource {
	r := &optimport.ImportResource{Type: m.Type, Name: nameOf(m.URN), ID: id}
	if p := m.New.Parent; p != "" && !strings.Contains(p, "::"+stackType+"::") {
		r.Parent = fmt.Sprintf("parent%d", len(names))
		names[r.Parent] = p
	}
	provider := m.New.Provider
	if i := strings.LastIndex(provider, "::"); i >= 0 {
		provider = provider[:i] // what follows is the provider's id
	}
	// The engine's own providers are called default, or default_1_41_0 after a version.
	switch name := nameOf(provider); {
	case provider == "" || name == "default":
	case strings.HasPrefix(name, "default_"):
		r.Version = strings.ReplaceAll(strings.TrimPrefix(name, "default_"), "_", ".")
	default:
		r.Provider = fmt.Sprintf("provider%d", len(names))
		names[r.Provider] = provider
	}
	return r
}
