package main

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// paceFlags are how often a run is asked for, and what is taken for lost.
type paceFlags struct {
	gap, lease, window time.Duration
	perMinute, perHour int
}

func (f *paceFlags) flags(cmd *cobra.Command) {
	set := cmd.Flags()
	set.DurationVar(&f.gap, "gap", time.Second, "time from one request for a run to the next; 0 for none")
	set.IntVar(&f.perMinute, "per-minute", 80, "requests for a run in a minute; 0 for no bound")
	set.IntVar(&f.perHour, "per-hour", 500, "requests for a run in an hour; 0 for no bound")
	set.DurationVar(&f.lease, "lease", time.Minute, "time that one request for a run may take: after that others look for its run")
	set.DurationVar(&f.window, "window", 2*time.Minute, "time after a request in which its run may still appear at GitHub")
}

const paceHelp = `GitHub's limits are kept to: one request for a run in a second, 80 in a minute and 500 in
an hour, or what --gap, --per-minute and --per-hour say, counted together by all who
share the ledger; and none at all while GitHub wants quiet.`

// set gives d the pace, which is shared by all who use slots.
func (f paceFlags) set(d *dispatch.Dispatcher, slots dispatch.Slots) error {
	switch {
	case f.gap < 0 || f.perMinute < 0 || f.perHour < 0:
		return provision.Errorf(provision.Invalid, "--gap, --per-minute and --per-hour are not less than 0")
	case f.lease < time.Second || f.window < time.Second:
		return provision.Errorf(provision.Invalid, "--lease and --window are not less than 1s")
	}
	orNone := func(n int) int {
		if n == 0 {
			return -1
		}
		return n
	}
	d.Pace = &dispatch.Pace{Gap: f.gap, PerMinute: orNone(f.perMinute), PerHour: orNone(f.perHour), Slots: slots}
	if f.gap == 0 {
		d.Pace.Gap = -1
	}
	d.Lease, d.Window = f.lease, f.window
	d.Patience = f.lease + f.window + time.Minute
	return nil
}

// aheadTime is how long before its slot a message is pulled, so that it is ready for it.
const aheadTime = 20 * time.Second

// room says how many messages may be pulled, when what is pulled is to be sent in the time
// ahead. It is an error while nothing can be started.
func (s *sender) room(f paceFlags) func(ctx context.Context, ahead time.Duration) (int, time.Time, error) {
	return func(ctx context.Context, ahead time.Duration) (int, time.Time, error) {
		err := s.source.probe(ctx, s.Pace)
		if later := (*dispatch.LaterError)(nil); errors.As(err, &later) {
			return 0, later.At, nil
		} else if err != nil {
			return 0, time.Time{}, err
		}
		now, state := time.Now(), s.Pace.State()
		if soon := min(aheadTime, ahead/3); state.NextWrite.After(now.Add(soon)) {
			return 0, state.NextWrite.Add(-soon), nil
		}
		n := math.MaxInt32
		if f.gap > 0 {
			n = min(n, int(ahead/f.gap))
		}
		if f.perMinute > 0 {
			n = min(n, f.perMinute-state.LastMinute+f.perMinute*int(ahead/time.Minute))
		}
		if f.perHour > 0 {
			n = min(n, f.perHour-state.LastHour)
		}
		return max(n, 2), time.Time{}, nil // one to be sent, and one that is ready after it
	}
}
