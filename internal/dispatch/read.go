package dispatch

import (
	"context"
	"time"
)

// Read calls f, which sends one request that changes nothing, for somebody who has no job
// at hand: not while GitHub wants quiet, and with its answer told to all. A limit is a
// [LaterError].
func (p *Pace) Read(ctx context.Context, f func(context.Context) error) error {
	if err := p.read(ctx, time.Now()); err != nil {
		return err
	}
	err := f(ctx)
	if at := p.told(ctx, err); !at.IsZero() {
		return &LaterError{At: at, Err: err}
	}
	return err
}
