package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Class says what can be done about an error. It decides the exit status, whether
// asking again can help, and the advice; what happened is in the error's text.
type Class string

// The classes.
const (
	Invalid    Class = "invalid"     // the request is wrong; asking again will not help
	Denied     Class = "denied"      // a token is missing, wrong or too weak
	NotFound   Class = "not_found"   // the thing named does not exist
	Conflict   Class = "conflict"    // it exists, and belongs to another or differs
	Busy       Class = "busy"        // locked, limited or unavailable; ask again later
	NoCapacity Class = "no_capacity" // the vendor has no such server to give
	Cancelled  Class = "cancelled"   // somebody stopped it
	Internal   Class = "internal"    // none of the above
)

// classes is the one table of what follows from a class.
var classes = map[Class]struct {
	exit      int
	retryable bool
	next      string
}{
	Invalid:    {2, false, "correct the input and start a new run"},
	Denied:     {3, false, "check the token that is named, and what it may do"},
	NotFound:   {2, false, "check the name, or create what is missing"},
	Conflict:   {4, false, "find out who owns what is named before anything else is done"},
	Busy:       {5, true, "run the same job again later"},
	NoCapacity: {6, true, "choose another location or server type, or run the same job again later"},
	Cancelled:  {130, true, "run the same job again: what exists is kept"},
	Internal:   {1, true, "run the same job again: what exists is kept; if it fails again, look at the log of this step"},
}

// ExitStatus is what a program ends with: 0 done, 1 internal, 2 bad input, 3 not
// authorised, 4 conflict, 5 try again later, 6 no capacity, 130 cancelled.
func ExitStatus(err error) int {
	if err == nil {
		return 0
	}
	return classes[ClassOf(err)].exit
}

// Retryable reports whether the same job, run again unchanged, can succeed.
func Retryable(err error) bool { return err != nil && classes[ClassOf(err)].retryable }

// NextAction is the next thing to do about err: what the error itself advises, or else
// what its class does. It is empty for nil.
func NextAction(err error) string {
	if err == nil {
		return ""
	}
	if e := (*Error)(nil); errors.As(err, &e) && e.Next != "" {
		return e.Next
	}
	return classes[ClassOf(err)].next
}

// An Error is a failure that an edge has classified.
type Error struct {
	Class Class
	// Text says what was being done to which object, and the remote's own words, in
	// lower case and on one line: it is read as part of a chain. It never holds a
	// secret, nor what a child process printed.
	Text string
	// RequestID is the remote's name for the request that failed; empty if it has none.
	RequestID string
	// Next is advice for this very error; empty for the advice of its class.
	Next string
	// Err is the cause; nil if there is nothing to unwrap.
	Err error
}

func (e *Error) Error() string {
	if e.RequestID != "" {
		return e.Text + " (request " + e.RequestID + ")"
	}
	return e.Text
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an [Error] of class c. Like [fmt.Errorf] it understands %w.
func Errorf(c Class, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Class: c, Text: err.Error(), Err: errors.Unwrap(err)}
}

// ClassOf returns the class of err. An unclassified error is [Cancelled] when its
// context was cancelled, [Busy] when a deadline passed, and [Internal] otherwise;
// an [Error] of a class that there is not is Internal too. It is empty for nil.
func ClassOf(err error) Class {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		if _, ok := classes[e.Class]; ok {
			return e.Class
		}
	case errors.Is(err, context.Canceled):
		return Cancelled
	case errors.Is(err, context.DeadlineExceeded):
		return Busy
	}
	return Internal
}

// severity orders the classes: an error of the first is what has to be seen to before all
// others. What asking again does not help with comes before what it may.
var severity = []Class{Cancelled, Conflict, Denied, Invalid, NotFound, NoCapacity, Internal, Busy}

// several are errors that were found at the same time.
type several []error

func (s several) Error() string   { return errors.Join(s...).Error() }
func (s several) Unwrap() []error { return s }

// Join returns one error for all of errs that are not nil: nil for none, the only one as it
// is, and else an [Error] of the most severe class that names each of them, and in Next the
// cure of each, under the same number.
func Join(errs ...error) error {
	var list several
	for _, err := range errs {
		list = append(list, Problems(err)...)
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	joint := &Error{Class: Internal, Err: list}
	worst := len(severity)
	var texts, cures []string
	for i, err := range list {
		if at := slices.Index(severity, ClassOf(err)); at < worst {
			worst, joint.Class = at, severity[at]
		}
		texts = append(texts, fmt.Sprintf("(%d) %v", i+1, err))
		cures = append(cures, fmt.Sprintf("(%d) %s", i+1, NextAction(err)))
	}
	joint.Text = fmt.Sprintf("%d things are wrong: %s", len(list), strings.Join(texts, "; "))
	joint.Next = strings.Join(cures, "; ")
	return joint
}

// Problems returns the errors that [Join] has joined; err alone if it has not, and none for nil.
func Problems(err error) []error {
	var list several
	switch {
	case err == nil:
		return nil
	case errors.As(err, &list):
		return list
	}
	return []error{err}
}
