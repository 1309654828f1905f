package dispatch

import (
	"errors"
	"time"
)

// A LaterError says that nothing more can be done for a job at the moment, and that the
// ledger knows how to go on: deliver the same message again.
type LaterError struct {
	At    time.Time // before that it is of no use; zero for any time
	Maybe bool      // a run may exist
	Err   error
}

func (e *LaterError) Error() string { return e.Err.Error() }
func (e *LaterError) Unwrap() error { return e.Err }

// Ambiguous reports whether a run may exist.
func (e *LaterError) Ambiguous() bool { return e.Maybe }

// limit returns when the limit ends that err is about, and whether it is about one. The
// time is zero when GitHub has not told.
func limit(err error) (time.Time, bool) {
	var l interface{ NotBefore() time.Time }
	if !errors.As(err, &l) {
		return time.Time{}, false
	}
	return l.NotBefore(), true
}

// repeat reports whether err says that nothing was started, and that the next call of
// Start will ask differently.
func repeat(err error) bool {
	var r interface{ Repeat() bool }
	return errors.As(err, &r) && r.Repeat()
}
