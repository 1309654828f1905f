package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/pregoi/provision-tenant/internal/provision"
)

var notInSlugs = regexp.MustCompile(`[^a-z0-9]+`)

var slugShape = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$`)

// slugReason says why no tenant can have the slug; "" when one can.
func (s *Server) slugReason(slug string) string {
	switch {
	case !slugShape.MatchString(slug):
		return "must be 3 to 40 lower-case letters, digits and inner hyphens"
	case strings.HasPrefix(slug[2:], "--"):
		return "must not have hyphens in the third and fourth place: that is an internationalised name"
	}
	if provision.CheckHostname(slug+"."+s.Domain, s.Domain, s.Reserved) != nil {
		return "is reserved"
	}
	return ""
}

// derivedSlugs are the slugs of a tenant that asks for none: tenant-{first8} of its id, and
// where another tenant has that already, the same with a hash of the whole id.
func derivedSlugs(tenantID string) []string {
	id := strings.ToLower(tenantID)
	id = strings.TrimPrefix(id, "tenant")
	id = notInSlugs.ReplaceAllString(id, "")
	sum := sha256.Sum256([]byte(tenantID))
	hash := hex.EncodeToString(sum[:6])
	if id == "" {
		return []string{"tenant-" + hash}
	}
	first := "tenant-" + id[:min(len(id), 8)]
	return []string{first, first + "-" + hash}
}

type subdomainInput struct {
	Slug string `query:"slug" required:"true" maxLength:"253"`
}

type subdomainOutput struct {
	Body struct {
		Slug      string `json:"slug"`
		Available bool   `json:"available"`
		Reason    string `json:"reason,omitempty"`
	}
}

func (s *Server) checkSubdomain(ctx context.Context, in *subdomainInput) (*subdomainOutput, error) {
	out := &subdomainOutput{}
	out.Body.Slug = in.Slug
	if out.Body.Reason = s.slugReason(in.Slug); out.Body.Reason != "" {
		return out, nil
	}
	owner, err := s.Store.SlugOwner(ctx, in.Slug)
	if err != nil {
		return nil, err
	}
	if out.Body.Available = owner == ""; !out.Body.Available {
		out.Body.Reason = "is taken"
	}
	return out, nil
}
