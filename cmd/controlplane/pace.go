package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/dispatch"
)

// paceFlags are how often a run is asked for from here, and what is taken for lost: the
// dispatcher's, by the same names.
type paceFlags struct {
	gap, lease, window time.Duration
	perMinute, perHour int
}

func (f *paceFlags) flags(c *cobra.Command) {
	set := c.Flags()
	set.DurationVar(&f.gap, "gap", time.Second, "`time` from one request for a run to the next; 0 for none")
	set.IntVar(&f.perMinute, "per-minute", 80, "`requests` for a run in a minute; 0 for no bound")
	set.IntVar(&f.perHour, "per-hour", 500, "`requests` for a run in an hour; 0 for no bound")
	set.DurationVar(&f.lease, "lease", time.Minute, "`time` that one request for a run may take: after that others look for its run")
	set.DurationVar(&f.window, "window", 2*time.Minute, "`time` after a request in which its run may still appear at GitHub")
}

// set gives d the pace.
func (f paceFlags) set(d *dispatch.Dispatcher) error {
	switch {
	case f.gap < 0 || f.perMinute < 0 || f.perHour < 0:
		return usage("--gap, --per-minute and --per-hour are not less than 0")
	case f.lease < time.Second || f.window < time.Second:
		return usage("--lease and --window are not less than 1s")
	}
	orNone := func(n int) int {
		if n == 0 {
			return -1
		}
		return n
	}
	d.Pace = &dispatch.Pace{Gap: f.gap, PerMinute: orNone(f.perMinute), PerHour: orNone(f.perHour)}
	if f.gap == 0 {
		d.Pace.Gap = -1
	}
	d.Lease, d.Window = f.lease, f.window
	return nil
}
