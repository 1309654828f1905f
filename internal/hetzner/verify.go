package hetzner

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// Verify waits until the servers run, and returns them completed with what Hetzner knows:
// name, addresses, location and type. One without ID is found by its address. It answers
// [provision.NotFound] if one is missing, [provision.Conflict] if one stands in another
// region or has another address than is said, and [provision.Busy] if one does not run in time.
func (p *Project) Verify(ctx context.Context, j provision.Job, servers []provision.Server) ([]provision.Server, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.wait()+time.Minute, context.DeadlineExceeded)
	defer cancel()
	deadline := time.Now().Add(p.wait())
	byAddress := finder{p: p}
	verified := make([]provision.Server, len(servers))
	for i, s := range servers {
		if s.ID == "" {
			id, err := byAddress.find(ctx, s)
			if err != nil {
				return nil, err
			}
			s.ID = id
		}
		have, err := p.running(ctx, s, deadline)
		if err != nil {
			return nil, err
		}
		if verified[i], err = p.compare(j, s, have); err != nil {
			return nil, err
		}
	}
	return verified, nil
}

func (p *Project) wait() time.Duration { return cmp.Or(p.Wait, 3*time.Minute) }

// running looks at a server until it runs.
func (p *Project) running(ctx context.Context, s provision.Server, deadline time.Time) (*hcloud.Server, error) {
	id, err := number(s)
	if err != nil {
		return nil, err
	}
	pause := cmp.Or(p.Poll, 500*time.Millisecond)
	most := 10 * pause
	for {
		have, limit, err := p.server(ctx, s, id)
		switch {
		case err != nil:
			return nil, err
		case have.Status == hcloud.ServerStatusRunning:
			return have, nil
		case have.Status == hcloud.ServerStatusDeleting:
			return nil, provision.Errorf(provision.Conflict, "%s %s (%s) is being deleted", what(s), s.ID, have.Name)
		}
		// Of the hour's requests the last tenth is left to those who change something.
		if limit.Limit > 0 && limit.Remaining < limit.Limit/10 {
			pause = max(pause, time.Hour/time.Duration(limit.Limit)*10)
		}
		if time.Now().Add(pause).After(deadline) {
			return nil, provision.Errorf(provision.Busy, "%s %s (%s) does not run after %v: it is %s", what(s), s.ID, have.Name, p.wait(), have.Status)
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, fmt.Errorf("wait for %s %s: %w", what(s), s.ID, err)
		}
		pause = max(pause, min(pause*3/2, most))
	}
}

// server asks for one server.
func (p *Project) server(ctx context.Context, s provision.Server, id int64) (*hcloud.Server, hcloud.Ratelimit, error) {
	var limit hcloud.Ratelimit
	have, err := get(ctx, p, fmt.Sprintf("get %s %d", what(s), id), func(ctx context.Context, c *hcloud.Client) (*hcloud.Server, error) {
		have, resp, err := c.Server.GetByID(ctx, id)
		if resp != nil {
			limit = resp.Meta.Ratelimit
		}
		return have, err
	})
	if err == nil && have == nil {
		err = &provision.Error{
			Class: provision.NotFound,
			Text:  fmt.Sprintf("%s %d, which the stack says it has, does not exist in this Hetzner project", what(s), id),
			Next:  "check that HCLOUD_TOKEN is of the stack's project; if somebody deleted the server, refresh the stack",
		}
	}
	return have, limit, err
}

// compare holds what Hetzner has against what the stack says, and completes it.
func (p *Project) compare(j provision.Job, s provision.Server, have *hcloud.Server) (provision.Server, error) {
	if allowed := p.locations()[j.Region]; have.Location == nil || !slices.Contains(allowed, have.Location.Name) {
		where := "nowhere"
		if have.Location != nil {
			where = have.Location.Name
		}
		return s, provision.Errorf(provision.Conflict, "%s %s (%s) stands in another region: expected %s (%s), found %s",
			what(s), s.ID, have.Name, j.Region, strings.Join(allowed, ", "), where)
	}
	its := addresses(have)
	if s.IPv4 != "" && !slices.Contains(its, canonical(s.IPv4)) {
		return s, provision.Errorf(provision.Conflict, "%s %s (%s) has another address: expected %s, as the stack says, found %s",
			what(s), s.ID, have.Name, s.IPv4, cmp.Or(strings.Join(its, ", "), "none"))
	}
	if s.IPv4 == "" && !have.PublicNet.IPv4.IsUnspecified() {
		s.IPv4 = have.PublicNet.IPv4.IP.String()
	}
	s.Name, s.Location = have.Name, have.Location.Name
	s.IPv6 = firstIPv6(have)
	if have.ServerType != nil {
		s.Type = have.ServerType.Name
	}
	return s, nil
}

// firstIPv6 is the first address of the server's network, the one it is set up with; empty
// when it has none.
func firstIPv6(v *hcloud.Server) string {
	if v.PublicNet.IPv6.IsUnspecified() {
		return ""
	}
	network, ok := netip.AddrFromSlice(v.PublicNet.IPv6.IP)
	if !ok {
		return ""
	}
	return network.Next().String()
}

// addresses are all that a server answers at: public ones first, then private ones.
func addresses(v *hcloud.Server) []string {
	var list []string
	if !v.PublicNet.IPv4.IsUnspecified() {
		list = append(list, v.PublicNet.IPv4.IP.String())
	}
	if ip := firstIPv6(v); ip != "" {
		list = append(list, ip)
	}
	for _, n := range v.PrivateNet {
		list = append(list, n.IP.String())
	}
	return list
}

func canonical(ip string) string {
	if addr, err := netip.ParseAddr(ip); err == nil {
		return addr.Unmap().String()
	}
	return ip
}

// A finder finds servers by address; it asks for all of them, once.
type finder struct {
	p   *Project
	all []*hcloud.Server // nil before it has asked
}

func (f *finder) find(ctx context.Context, s provision.Server) (string, error) {
	if s.IPv4 == "" {
		return "", provision.Errorf(provision.Invalid, "the stack says neither ID nor address of the %s", what(s))
	}
	if f.all == nil {
		all, err := get(ctx, f.p, "list servers", func(ctx context.Context, c *hcloud.Client) ([]*hcloud.Server, error) {
			return c.Server.All(ctx)
		})
		if err != nil {
			return "", err
		}
		f.all = all
	}
	var ids []string
	for _, v := range f.all {
		if slices.Contains(addresses(v), canonical(s.IPv4)) {
			ids = append(ids, strconv.FormatInt(v.ID, 10))
		}
	}
	switch len(ids) {
	case 1:
		return ids[0], nil
	case 0:
		return "", provision.Errorf(provision.NotFound, "no server of this Hetzner project has the address %s of the %s", s.IPv4, what(s))
	}
	// Private addresses are unique within their network only.
	return "", provision.Errorf(provision.Conflict, "the address %s of the %s belongs to several servers: %s", s.IPv4, what(s), strings.Join(ids, ", "))
}

// what names a server in an error: its role and that it is a server.
func what(s provision.Server) string {
	if s.Role == "" {
		return "server"
	}
	return string(s.Role) + " server"
}

func number(s provision.Server) (int64, error) {
	id, err := strconv.ParseInt(s.ID, 10, 64)
	if err != nil || id <= 0 {
		return 0, provision.Errorf(provision.Invalid, "%q is no ID of a Hetzner server: it has to be a number", s.ID)
	}
	return id, nil
}
