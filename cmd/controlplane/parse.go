package main

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
)

// parser reads settings and remembers what was wrong.
type parser struct {
	env  func(string) string
	errs []error
}

func (p *parser) bad(name, why string) {
	p.errs = append(p.errs, fmt.Errorf("%s %q %s", name, p.env(name), why))
}

func (p *parser) flag(name string) bool {
	switch p.env(name) {
	case "true", "1":
		return true
	case "", "false", "0":
	default:
		p.bad(name, "is neither true nor false")
	}
	return false
}

func (p *parser) number(name string, otherwise, least int) int {
	v := p.env(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > math.MaxInt32 {
		p.bad(name, fmt.Sprintf("is no number from %d on", least))
	}
	return n
}

func (p *parser) duration(name string, otherwise time.Duration) time.Duration {
	v := p.env(name)
	if v == "" {
		return otherwise
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		p.bad(name, "is no duration such as 15m")
	}
	return d
}

// list returns the words of a setting, which commas separate.
func (p *parser) list(name string) []string {
	return strings.FieldsFunc(p.env(name), func(r rune) bool { return r == ',' || r == ' ' })
}

func (p *parser) tiers(name string, otherwise ...placement.Tier) []placement.Tier {
	words := p.list(name)
	if len(words) == 0 {
		return otherwise
	}
	list := make([]placement.Tier, len(words))
	for i, w := range words {
		if list[i] = placement.Tier(w); !list[i].Valid() {
			p.bad(name, "is no list of free, basic, professional and enterprise")
			return nil
		}
	}
	return list
}

func (p *parser) networks(name string) []netip.Prefix {
	var list []netip.Prefix
	for _, w := range p.list(name) {
		network, err := netip.ParsePrefix(w)
		if a, e := netip.ParseAddr(w); e == nil {
			a = a.Unmap() // as those who connect are seen
			network, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			p.bad(name, "is no list of addresses and networks such as 10.0.0.0/8")
			return nil
		}
		list = append(list, network)
	}
	return list
}

func (p *parser) thresholds() placement.Thresholds {
	t := placement.DefaultThresholds()
	if v := p.env("PLACEMENT_MEMORY_PCT_MAX"); v != "" {
		f, err := strconv.ParseFloat(v, 64)
		if t.MemoryPctMax = f; err != nil || !(f > 0 && f <= 100) {
			p.bad("PLACEMENT_MEMORY_PCT_MAX", "is no percentage above 0")
		}
	}
	t.MaxTenantsPerNode = p.number("PLACEMENT_MAX_TENANTS_PER_NODE", t.MaxTenantsPerNode, 1)
	t.MetricsMaxAge = p.duration("PLACEMENT_METRICS_MAX_AGE", t.MetricsMaxAge)
	if v := p.env("PLACEMENT_DEFAULT_REGION"); v != "" {
		if t.DefaultRegion = placement.Region(v); !t.DefaultRegion.Valid() {
			p.bad("PLACEMENT_DEFAULT_REGION", "is not sg, us or eu")
		}
	}
	return t
}

// trigger reads who starts runs. What the other ways need may be set, too: the sweeper reads
// runs at GitHub whoever starts them.
func (p *parser) trigger() triggerConfig {
	t := triggerConfig{
		kind:          cmp.Or(p.env("TRIGGER"), inProcess),
		githubToken:   p.env("GITHUB_TOKEN"),
		githubAPI:     p.env("GITHUB_API_URL"),
		dispatchURL:   p.env("GITHUB_WORKFLOW_DISPATCH_URL"),
		dispatcherURL: p.env("DISPATCHER_URL"),
		dispatcherKey: cmp.Or(p.env("DISPATCHER_API_KEY"), p.env("INTERNAL_API_KEY")),
		queueAccount:  p.env("CLOUDFLARE_ACCOUNT_ID"),
		queueID:       p.env("CLOUDFLARE_QUEUE_ID"),
		queueToken:    p.env("CLOUDFLARE_API_TOKEN"),
		queueAPIURL:   p.env("CLOUDFLARE_API_BASE_URL"),
	}
	var needed []string
	switch t.kind {
	case inProcess:
	case dispatcher:
		needed = []string{"DISPATCHER_URL"}
	case queue:
		needed = []string{"CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_QUEUE_ID", "CLOUDFLARE_API_TOKEN"}
	default:
		p.bad("TRIGGER", "is not in_process, dispatcher or queue")
	}
	for _, name := range needed {
		if p.env(name) == "" {
			p.errs = append(p.errs, fmt.Errorf("%s is not set, and TRIGGER=%s needs it", name, t.kind))
		}
	}
	return t
}
