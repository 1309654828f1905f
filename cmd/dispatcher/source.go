package main

import (
	"bytes"
	"context"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/workflow"
)

const (
	// freshTime is how long a workflow file is taken for what it was. Every message needs
	// it, and GITHUB_TOKEN has 1,000 requests in an hour.
	// https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#primary-rate-limit-for-github_token-in-github-actions
	freshTime = time.Minute
	// failedTime is how long a file that could not be read is not asked for again.
	failedTime = 5 * time.Second
)

// A source is a workflow file at GitHub, read by one at a time and kept for a while.
type source struct {
	workflow github.Workflow
	requests func(request string, err error) // told of each request; nil for nobody

	turn   chan struct{} // holds who reads it; what is below is his
	at     time.Time
	data   []byte
	parsed workflow.Workflow
	err    error
}

func newSource(w github.Workflow) *source { return &source{workflow: w, turn: make(chan struct{}, 1)} }

// declared says what the file declares, as it was up to a minute ago.
func (s *source) declared(ctx context.Context) (workflow.Workflow, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return workflow.Workflow{}, ctx.Err()
	}
	defer func() { <-s.turn }()
	if age := time.Since(s.at); s.err == nil && s.data != nil && age < freshTime || s.err != nil && age < failedTime {
		return s.parsed, s.err
	}
	_, err := s.read(ctx)
	return s.parsed, err
}

// reread reads the file, however young what we have of it is, and reports whether it has changed.
func (s *source) reread(ctx context.Context) (changed bool, err error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-s.turn }()
	return s.read(ctx)
}

func (s *source) read(ctx context.Context) (changed bool, err error) {
	data, err := s.workflow.Read(ctx)
	if s.requests != nil {
		s.requests("read", err)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return false, err // nothing is learnt
	case err == nil:
		changed = s.data != nil && !bytes.Equal(data, s.data)
		s.data = data
		if s.parsed, err = workflow.Parse(data); err != nil {
			// The message is not to blame: there is no workflow that could be started.
			err = &provision.Error{Class: provision.NotFound, Text: s.workflow.String() + ": " + err.Error(), Err: err,
				Next: "correct the file at that ref: dispatcher check says what is wrong with it"}
		}
	}
	s.at, s.err = time.Now(), err
	return changed, err
}

// probe is an error while nothing can be started: the token, the repository or its file.
// It asks at most once in a minute, and not while GitHub wants quiet.
func (s *source) probe(ctx context.Context, pace *dispatch.Pace) error {
	return pace.Read(ctx, func(ctx context.Context) error {
		_, err := s.declared(ctx)
		return err
	})
}
