package placement

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A WhatIf is another world: the one that there is, with something changed. The zero WhatIf
// changes nothing.
type WhatIf struct {
	Thresholds *Overrides     `json:"thresholds,omitempty" doc:"limits to decide by in place of the installation's"`
	Drain      []string       `json:"drain,omitempty" doc:"node_ids of nodes that would get no new tenants"`
	AddTenants map[string]int `json:"add_tenants,omitempty" doc:"how many more tenants a node would have, by node_id"`
}

// Overrides are limits; what is nil stays.
type Overrides struct {
	MemoryPctMax      *float64 `json:"memory_pct_max,omitempty" doc:"above 0, at most 100"`
	MaxTenantsPerNode *int     `json:"max_tenants_per_node,omitempty" doc:"1 to 1000000"`
	MetricsMaxAge     *string  `json:"metrics_max_age,omitempty" example:"15m" doc:"a duration above 0"`
}

// maxTenants is the most that anybody can mean by a number of tenants.
const maxTenants = 1_000_000

// IsZero reports whether nothing was asked.
func (w WhatIf) IsZero() bool {
	return w.Thresholds == nil && w.Drain == nil && w.AddTenants == nil
}

// A FieldError says what is wrong with one field of a body, by its path.
type FieldError struct{ Field, Value, Reason string }

// FieldErrors are all that is wrong with a body.
type FieldErrors []FieldError

func (e FieldErrors) Error() string {
	var list []string
	for _, f := range e {
		list = append(list, f.Field+" "+strconv.Quote(f.Value)+" "+f.Reason)
	}
	return strings.Join(list, "; ")
}

func (e *FieldErrors) add(field, value, reason string) {
	*e = append(*e, FieldError{field, value, reason})
}

// A Comparison is a decision, and the one that would be.
type Comparison struct {
	Before, After Decision
	// Changes say what differs: the placement first, also where it is the same.
	Changes []Change
}

// Decide decides r in s, and in s as w has it. The error is a [FieldErrors].
func (w WhatIf) Decide(r Request, s Snapshot) (Comparison, error) {
	var errs FieldErrors
	other := Snapshot{Nodes: slices.Clone(s.Nodes), Thresholds: w.limits(s.Thresholds, &errs), Now: s.Now}
	w.change(other.Nodes, &errs)
	if errs != nil {
		return Comparison{}, errs
	}
	c := Comparison{Before: Decide(r, s), After: Decide(r, other)}
	c.Changes = w.changes(c.Before, c.After)
	return c, nil
}

// limits returns t with what w overrides.
func (w WhatIf) limits(t Thresholds, errs *FieldErrors) Thresholds {
	if w.Thresholds == nil {
		return t
	}
	if m := w.Thresholds.MemoryPctMax; m != nil {
		if t.MemoryPctMax = *m; !(*m > 0 && *m <= 100) {
			errs.add("thresholds.memory_pct_max", decimal(*m), "is no percentage above 0")
		}
	}
	if n := w.Thresholds.MaxTenantsPerNode; n != nil {
		if t.MaxTenantsPerNode = *n; *n < 1 || *n > maxTenants {
			errs.add("thresholds.max_tenants_per_node", strconv.Itoa(*n), "is not between 1 and "+strconv.Itoa(maxTenants))
		}
	}
	if a := w.Thresholds.MetricsMaxAge; a != nil {
		age, err := time.ParseDuration(*a)
		if t.MetricsMaxAge = age; err != nil || age <= 0 {
			errs.add("thresholds.metrics_max_age", *a, "is no duration such as 15m")
		}
	}
	return t
}

// change drains nodes, and adds tenants to them.
func (w WhatIf) change(nodes []Node, errs *FieldErrors) {
	at := map[string]int{}
	if len(w.Drain)+len(w.AddTenants) > 0 {
		for i, n := range nodes {
			at[n.ID] = i
		}
	}
	for i, id := range w.Drain {
		n, ok := at[id]
		if !ok {
			errs.add("drain["+strconv.Itoa(i)+"]", id, "is no node")
			continue
		}
		nodes[n].Active = false
	}
	for _, id := range slices.Sorted(maps.Keys(w.AddTenants)) {
		more := w.AddTenants[id]
		n, ok := at[id]
		switch {
		case !ok:
			errs.add("add_tenants."+id, strconv.Itoa(more), "is for no node that there is")
			continue
		case more < -maxTenants || more > maxTenants:
			errs.add("add_tenants."+id, strconv.Itoa(more), "is not between -"+strconv.Itoa(maxTenants)+" and "+strconv.Itoa(maxTenants))
			continue
		case more < 0 && nodes[n].Tenants+more < 0:
			errs.add("add_tenants."+id, strconv.Itoa(more), "takes away more than the node's "+strconv.Itoa(nodes[n].Tenants))
			continue
		}
		nodes[n].Tenants = addTenants(nodes[n].Tenants, more)
	}
}
