package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// placementFlags are the question.
type placementFlags struct {
	url, snapshot, tier, region, tenant string
	all, json                           bool

	memoryPctMax      float64
	maxTenantsPerNode int
	metricsMaxAge     string
	drain             []string
	addTenants        map[string]int
}

func placementCommand(stdout io.Writer, getenv func(string) string) *cobra.Command {
	var f placementFlags
	c := &cobra.Command{
		Use:   "placement",
		Short: "Ask where a tenant would land, and why; nothing is changed",
		Long: "Ask where a tenant would land, and why: a control plane that is up, or the algorithm itself\n" +
			"on a file. Nothing is changed.\n\n" +
			"A snapshot is the answer of POST /internal/placement/compute with all candidates, as --all --json\n" +
			"prints it: the decision is made again. Or it is an object with nodes as GET /internal/nodes answers,\n" +
			"to which thresholds and decided_at may be added as in such an answer; without them the limits come\n" +
			"from the environment, and it is decided now.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return askPlacement(c, f, stdout, getenv)
		},
	}
	c.Flags().StringVar(&f.url, "url", "", "the control plane's `address` (default CONTROL_PLANE_URL)")
	c.Flags().StringVar(&f.snapshot, "snapshot", "", "a `file` to decide on in place of a control plane's nodes; - is standard input")
	c.Flags().StringVar(&f.tier, "tier", "", "the `tier`: free, basic, professional or enterprise (default basic)")
	c.Flags().StringVar(&f.region, "region", "", "the `region`: sg, us or eu (default the control plane's, or that of the snapshot)")
	c.Flags().StringVar(&f.tenant, "tenant", "", "a `tenant_id`, echoed")
	c.Flags().BoolVar(&f.all, "all", false, fmt.Sprintf("show every candidate, and not the first %d", placement.DefaultCandidates))
	c.Flags().BoolVar(&f.json, "json", false, "print the answer as the control plane gives it")
	c.Flags().Float64Var(&f.memoryPctMax, "memory-pct-max", 0, "what if a node could have up to so many `percent` of memory in use")
	c.Flags().IntVar(&f.maxTenantsPerNode, "max-tenants-per-node", 0, "what if a node had to have fewer tenants than `n`")
	c.Flags().StringVar(&f.metricsMaxAge, "metrics-max-age", "", "what if metrics could be of an `age` up to this, such as 15m")
	c.Flags().StringSliceVar(&f.drain, "drain", nil, "what if these nodes got no new tenants, as `node_id,...`")
	c.Flags().StringToIntVar(&f.addTenants, "add-tenants", nil, "what if nodes had more tenants, as `node_id=n,...`")
	c.Flags().Lookup("add-tenants").DefValue = "" // and not []
	return c
}

// question is what the flags ask.
func (f placementFlags) question(c *cobra.Command) controlplane.Question {
	q := controlplane.Question{Tier: placement.Tier(f.tier), Region: placement.Region(f.region), TenantID: f.tenant,
		WhatIf: placement.WhatIf{Drain: f.drain, AddTenants: f.addTenants}}
	if f.all {
		q.Limit = new(0)
	}
	var o placement.Overrides
	if c.Flags().Changed("memory-pct-max") {
		o.MemoryPctMax = &f.memoryPctMax
	}
	if c.Flags().Changed("max-tenants-per-node") {
		o.MaxTenantsPerNode = &f.maxTenantsPerNode
	}
	if c.Flags().Changed("metrics-max-age") {
		o.MetricsMaxAge = &f.metricsMaxAge
	}
	if o != (placement.Overrides{}) {
		q.Thresholds = &o
	}
	return q
}

func askPlacement(c *cobra.Command, f placementFlags, stdout io.Writer, getenv func(string) string) error {
	q := f.question(c)
	p := parser{env: func(name string) string { return strings.TrimSpace(getenv(name)) }}
	if q.Tier != "" && !q.Tier.Valid() {
		p.errs = append(p.errs, fmt.Errorf("--tier %q is not free, basic, professional or enterprise", f.tier))
	}
	if q.Region != "" && !q.Region.Valid() {
		p.errs = append(p.errs, fmt.Errorf("--region %q is not sg, us or eu", f.region))
	}
	if f.url != "" && f.snapshot != "" {
		p.errs = append(p.errs, errors.New("there are both --url and --snapshot: give one of them"))
	}
	var data []byte
	var err error
	if f.snapshot != "" {
		data, err = decideFile(c, f.snapshot, q, &p)
	} else {
		data, err = decideLive(c, f.url, q, &p)
	}
	if err != nil {
		return err
	}
	if f.json {
		_, err = fmt.Fprintf(stdout, "%s\n", bytes.TrimSpace(data))
	} else {
		var a placement.Answer
		if err := json.Unmarshal(data, &a); err != nil {
			return provision.Errorf(provision.Internal, "the control plane's answer: %w", err)
		}
		err = printAnswer(stdout, a)
	}
	if err != nil {
		return provision.Errorf(provision.Internal, "print the answer: %w", err)
	}
	return nil
}

// decideLive returns the answer of a control plane, as it came.
func decideLive(c *cobra.Command, url string, q controlplane.Question, p *parser) ([]byte, error) {
	cp := &controlplane.Client{URL: cmp.Or(url, p.env("CONTROL_PLANE_URL")), Key: p.env("INTERNAL_API_KEY")}
	if cp.URL == "" {
		p.errs = append(p.errs, fmt.Errorf("CONTROL_PLANE_URL is not set, and there is neither --url nor --snapshot"))
	}
	if err := invalid(p.errs); err != nil {
		return nil, err
	}
	answer, err := cp.Place(c.Context(), q)
	return answer.JSON, err
}

// maxSnapshot is the most that a file may have: a hundred thousand nodes are about 50 MB.
const maxSnapshot = 256 << 20

// decideFile answers as a control plane does, out of a file.
func decideFile(c *cobra.Command, name string, q controlplane.Question, p *parser) ([]byte, error) {
	thresholds := p.thresholds()
	if err := invalid(p.errs); err != nil {
		return nil, err
	}
	data, err := readSnapshot(name, c.InOrStdin())
	if err != nil {
		return nil, provision.Errorf(provision.Invalid, "the snapshot: %w", err)
	}
	s, asked, err := placement.ParseSnapshot(data, thresholds, time.Now())
	if err != nil {
		return nil, provision.Errorf(provision.Invalid, "the snapshot %s: %w", name, err)
	}
	r := placement.Request{Tier: cmp.Or(q.Tier, asked.Tier), Region: cmp.Or(q.Region, asked.Region)}
	limit := placement.DefaultCandidates
	if q.Limit != nil {
		limit = *q.Limit
	}
	a := placement.Decide(r, s).Answer(limit)
	if !q.WhatIf.IsZero() {
		other, err := q.WhatIf.Decide(r, s)
		if err != nil {
			return nil, &provision.Error{Class: provision.Invalid, Text: "what if: " + err.Error(), Next: "correct the flags; see controlplane placement --help", Err: err}
		}
		a = other.Answer(limit)
	}
	a.TenantID = q.TenantID
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // as the control plane
	err = e.Encode(a)
	return b.Bytes(), err
}

func readSnapshot(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxSnapshot+1))
	if err == nil && len(data) > maxSnapshot {
		err = errors.New("it is larger than 256 MB")
	}
	return data, err
}
