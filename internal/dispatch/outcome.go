package dispatch

import (
	"errors"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// An Outcome is what became of a dispatch. It says whether a run exists, which an
// error's class does not.
type Outcome string

// The outcomes.
const (
	Accepted          Outcome = "accepted"            // there is a run, and its id is known
	AcceptedWithoutID Outcome = "accepted_without_id" // there is a run, which is to be found by its name
	Rejected          Outcome = "rejected"            // there is no run; the same request would be refused again
	Limited           Outcome = "limited"             // there is no run; the same request may be sent later
	Ambiguous         Outcome = "ambiguous"           // there may be a run: look before anything is sent again
)

// OutcomeOf returns the outcome of a dispatch that ended in run and err.
func OutcomeOf(run Run, err error) Outcome {
	var lost interface{ Ambiguous() bool }
	switch {
	case err == nil && run.ID > 0:
		return Accepted
	case err == nil:
		return AcceptedWithoutID
	case errors.As(err, &lost) && lost.Ambiguous():
		return Ambiguous
	case provision.Retryable(err):
		return Limited
	}
	return Rejected
}
