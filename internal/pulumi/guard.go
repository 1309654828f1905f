package pulumi

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// guard judges a preview, and says why it must not be carried out; nil if it may.
//
// Provisioning makes things, and changes what is the tenant's own. Whoever wants to
// delete or replace something, or to change the servers of others, runs pulumi.
func (s *session) guard(plan *report) error {
	if err := s.ownedBy(plan.olds["tenant_id"], "its output tenant_id"); err != nil {
		return err
	}
	var refused []string
	for _, m := range plan.begun {
		if key, is := strings.CutPrefix(nameOf(m.URN), nodeResource("")); is && m.Type == serverType &&
			m.Op == apitype.OpDelete && !s.job.Dedicated && !slices.Contains(s.nodes(), key) {
			return s.moved() // the node was added after we had read which there are
		}
		if s.others(m.Type, m.URN) && m.Op == apitype.OpUpdate && len(changed(m)) == 0 && m.Old != nil && len(m.Old.InitErrors) > 0 {
			return s.moved() // its making was cut short after we had read; see unfinished
		}
		why := s.forbidden(m)
		// Replacing is told in several steps, of which not all say why.
		told := func(r string) bool { return strings.HasPrefix(r, why) || strings.HasPrefix(why, r) }
		if why != "" && !slices.ContainsFunc(refused, told) {
			refused = append(refused, why)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return &provision.Error{
		Class: provision.Conflict,
		Text: fmt.Sprintf("the program would %s in stack %s; provisioning does not do that, and nothing was changed",
			strings.Join(refused, ", "), s.label),
		Next: "find out what changed in the program or its settings; if it is wanted, do it with pulumi, by hand",
	}
}

// forbidden says what is wrong with a planned step; "" if it may be done.
func (s *session) forbidden(m apitype.StepEventMetadata) string {
	c, ok := change(m)
	if !ok || m.Old == nil || !m.Old.Custom {
		return ""
	}
	switch {
	case c.Op == provision.Delete || c.Op == provision.Replace:
		return fmt.Sprintf("%s (id %s)%s", c, m.Old.ID, because(m))
	case c.Op == provision.Update && s.others(m.Type, m.URN):
		// Labels say what a server is; anything else can stop it, and other tenants are on it.
		if !slices.Equal(changed(m), []string{"labels"}) {
			return fmt.Sprintf("%s (id %s), another node's server%s", c, m.Old.ID, because(m))
		}
	}
	return ""
}

// others reports whether a resource is another node's server.
func (s *session) others(typ, urn string) bool {
	return !s.job.Dedicated && typ == serverType && nameOf(urn) != nodeResource(s.job.NodeKey())
}

// unfinished returns the URNs of other nodes' servers that were recorded before their
// making had come to an end: the job was stopped, or Hetzner could not start them. The
// engine wants to update such a server, even if nothing differs, and that fails for ever
// once somebody has removed it. So that one stopped job does not block all others on the
// stack, they leave it out; its own job goes on with it.
func (s *session) unfinished() []string {
	var list []string
	if s.state != nil {
		for _, r := range s.state.Resources {
			if s.others(r.Type, r.URN) && len(r.InitErrors) > 0 {
				list = append(list, r.URN)
			}
		}
	}
	return list
}

// ownedBy refuses a dedicated stack that records another tenant.
func (s *session) ownedBy(recorded any, where string) error {
	tenant, ok := recorded.(string)
	if !ok || tenant == "" || !s.job.Dedicated || tenant == s.job.TenantID {
		return nil
	}
	return provision.Errorf(provision.Conflict, "stack %s belongs to another tenant: expected %s, found %.128q in %s; nothing was changed",
		s.label, s.job.TenantID, tenant, where)
}

func because(m apitype.StepEventMetadata) string {
	if keys := changed(m); len(keys) > 0 {
		return ", because of its " + strings.Join(keys, ", ")
	}
	return ""
}

// changed returns the properties that differ, sorted.
func changed(m apitype.StepEventMetadata) []string {
	keys := map[string]bool{}
	for _, k := range m.Diffs {
		keys[k] = true
	}
	for path := range m.DetailedDiff {
		keys[path[:len(path)-len(strings.TrimLeft(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"))]] = true
	}
	return slices.Sorted(maps.Keys(keys))
}
