package provision_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/pregoi/provision-tenant/internal/provision"
)

func TestClasses(t *testing.T) {
	// Exit statuses are those that every program of the project promises.
	for _, test := range []struct {
		class     provision.Class
		exit      int
		retryable bool
	}{
		{provision.Invalid, 2, false},
		{provision.Denied, 3, false},
		{provision.NotFound, 2, false},
		{provision.Conflict, 4, false},
		{provision.Busy, 5, true},
		{provision.NoCapacity, 6, true},
		{provision.Cancelled, 130, true},
		{provision.Internal, 1, true},
		{"", 1, true},
		{"no such class", 1, true},
	} {
		// The class is found through whatever an error was wrapped in.
		inner := provision.Errorf(test.class, "node n-1")
		for _, err := range []error{
			inner,
			fmt.Errorf("resolve_node: %w", inner),
			fmt.Errorf("resolve_node: %w: %w", io.EOF, inner),
			errors.Join(io.EOF, inner),
		} {
			if got := provision.ExitStatus(err); got != test.exit {
				t.Errorf("ExitStatus(%q of class %q) = %d, want %d", err, test.class, got, test.exit)
			}
			if got := provision.Retryable(err); got != test.retryable {
				t.Errorf("Retryable(%q of class %q) = %t, want %t", err, test.class, got, test.retryable)
			}
			if provision.NextAction(err) == "" {
				t.Errorf("NextAction(%q of class %q) is empty", err, test.class)
			}
		}
	}
}

func TestClassOf(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		err  error
		want provision.Class
		exit int
	}{
		{nil, "", 0},
		{io.EOF, provision.Internal, 1},
		{ctx.Err(), provision.Cancelled, 130},
		{fmt.Errorf("pulumi_up: %w", context.Canceled), provision.Cancelled, 130},
		{fmt.Errorf("pulumi_up: %w", context.DeadlineExceeded), provision.Busy, 5},
		// Whoever classified an error knew more than its cause does.
		{provision.Errorf(provision.Denied, "token: %w", context.Canceled), provision.Denied, 3},
		// The outer class counts: it was set by who understood the inner one.
		{provision.Errorf(provision.Conflict, "stack: %w", provision.Errorf(provision.Busy, "locked")), provision.Conflict, 4},
	} {
		if got := provision.ClassOf(test.err); got != test.want {
			t.Errorf("ClassOf(%v) = %q, want %q", test.err, got, test.want)
		}
		if got := provision.ExitStatus(test.err); got != test.exit {
			t.Errorf("ExitStatus(%v) = %d, want %d", test.err, got, test.exit)
		}
	}
	if provision.Retryable(nil) || provision.NextAction(nil) != "" {
		t.Errorf("nil is retryable %t, next %q; want neither", provision.Retryable(nil), provision.NextAction(nil))
	}
}

func TestErrorText(t *testing.T) {
	err := &provision.Error{Class: provision.Busy, Text: "server 7: locked", RequestID: "req-1", Next: "wait for action 9", Err: io.EOF}
	if got, want := err.Error(), "server 7: locked (request req-1)"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	wrapped := fmt.Errorf("pulumi_up: %w", err)
	if got, want := provision.NextAction(wrapped), "wait for action 9"; got != want {
		t.Errorf("NextAction = %q, want %q", got, want)
	}
	if !errors.Is(wrapped, io.EOF) {
		t.Errorf("%v does not wrap its cause", wrapped)
	}
	if got := provision.Errorf(provision.Busy, "zone: %w", io.EOF); !errors.Is(got, io.EOF) || got.Error() != "zone: EOF" {
		t.Errorf("Errorf with %%w = %v, which does not wrap its cause", got)
	}
}

func TestJoin(t *testing.T) {
	denied := &provision.Error{Class: provision.Denied, Text: "hetzner: no", Next: "check HCLOUD_TOKEN", RequestID: "req-1"}
	busy := provision.Errorf(provision.Busy, "control plane: no answer")
	if got := provision.Join(nil, nil); got != nil || provision.Problems(got) != nil {
		t.Errorf("Join of nothing = %v", got)
	}
	if got := provision.Join(nil, denied); got != error(denied) {
		t.Errorf("Join of one = %v, want it as it is", got)
	}
	got := provision.Join(busy, nil, provision.Join(denied, provision.Errorf(provision.Invalid, "region: no")))
	if provision.ClassOf(got) != provision.Denied || provision.Retryable(got) {
		t.Errorf("class %s, retryable %t; want denied, which asking again does not help with", provision.ClassOf(got), provision.Retryable(got))
	}
	const text = "3 things are wrong: (1) control plane: no answer; (2) hetzner: no (request req-1); (3) region: no"
	if got.Error() != text {
		t.Errorf("text %q\nwant %q", got, text)
	}
	const next = "(1) run the same job again later; (2) check HCLOUD_TOKEN; (3) correct the input and start a new run"
	if n := provision.NextAction(got); n != next {
		t.Errorf("next %q\nwant %q", n, next)
	}
	if p := provision.Problems(fmt.Errorf("pulumi_up: %w", got)); len(p) != 3 || p[1] != error(denied) {
		t.Errorf("problems %v", p)
	}
	for _, test := range []struct {
		with, want provision.Class
	}{
		{provision.Cancelled, provision.Cancelled}, {provision.Conflict, provision.Conflict}, {provision.NotFound, provision.NotFound},
		{provision.NoCapacity, provision.NoCapacity}, {provision.Internal, provision.Internal}, {provision.Busy, provision.Busy},
	} {
		if got := provision.ClassOf(provision.Join(busy, provision.Errorf(test.with, "x"))); got != test.want {
			t.Errorf("busy and %s are %s, want %s", test.with, got, test.want)
		}
	}
}
