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
		if why := s.forbidden(m); why != "" && !slices.Contains(refused, why) {
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
	case c.Op == provision.Update && c.Type == serverType && !s.job.Dedicated && c.Name != nodeResource(s.job.NodeKey()):
		// Labels say what a server is; anything else can stop it, and other tenants are on it.
		if keys := changed(m); len(keys) != 1 || keys[0] != "labels" {
			return fmt.Sprintf("%s (id %s), another node's server%s", c, m.Old.ID, because(m))
		}
	}
	return ""
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
