package dispatch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/ledgertest"
)

// A read that meets a limit tells all who share the slots, and none is sent until it ends.
func TestPaceRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shared ledgertest.Memory
		a, b := &dispatch.Pace{Slots: &shared}, &dispatch.Pace{Slots: &shared}
		end := time.Now().Add(time.Minute)
		calls := 0
		read := func(p *dispatch.Pace, answer error) error {
			return p.Read(t.Context(), func(context.Context) error { calls++; return answer })
		}
		var later *dispatch.LaterError
		if err := read(a, limited{errors.New("limited"), end}); !errors.As(err, &later) || !later.At.Equal(end) {
			t.Errorf("a limit: %v", err)
		}
		if err := read(b, nil); !errors.As(err, &later) || later.At.Before(end) || calls != 1 {
			t.Errorf("before its end: %v, %d calls", err, calls)
		}
		time.Sleep(time.Until(end))
		if err := read(b, nil); err != nil || calls != 2 {
			t.Errorf("after its end: %v, %d calls", err, calls)
		}
		if err := read(nil, nil); err != nil {
			t.Errorf("without a pace: %v", err)
		}
	})
}
