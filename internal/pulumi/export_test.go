package pulumi

import "context"

// Checkout is what a run does with its source.
func (s *Source) Checkout(ctx context.Context, p *Program, root, dir string) (string, error) {
	return s.checkout(ctx, p, root, dir)
}

// NameOf is what is made of a URN.
func NameOf(urn string) string { return nameOf(urn) }
