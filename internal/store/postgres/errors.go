package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A lostError says that the server could not be asked, or did not answer; nothing has
// changed. It has none of the driver's words, which name the host and the user.
type lostError struct {
	reason string
	late   bool // it was waited for as long as may be
}

func (e *lostError) Error() string { return "the database server does not answer" + e.reason }

// A doubtError says that a transaction may have been committed, or not.
type doubtError struct{}

func (*doubtError) Error() string {
	return "the database server was lost before it said whether this was stored"
}

// reached makes err, of somebody who wanted a connection, one that can be told.
func reached(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.As(err, new(*pgconn.PgError)):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return lost(err)
}

// ended makes err, of a statement, one that can be told. The caller's own end of patience is
// kept apart from ours.
func ended(ctx context.Context, c *pgx.Conn, err error) error {
	switch {
	case err == nil, errors.As(err, new(*pgconn.PgError)):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case c.IsClosed(), errors.Is(err, context.DeadlineExceeded):
		return lost(err)
	}
	return err
}

// migrated makes err, of a migration, one that can be told.
func migrated(ctx context.Context, err error) error {
	if errors.As(err, new(net.Error)) || errors.Is(err, io.ErrUnexpectedEOF) || ctx.Err() != nil {
		return reached(ctx, err)
	}
	return err
}

func lost(err error) error {
	return &lostError{reason(err), errors.Is(err, context.DeadlineExceeded)}
}

// reason is why there is no answer, as far as that names nobody.
func reason(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &dns):
		return ": its name is not known"
	case errors.As(err, &op):
		return ": " + op.Err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return ": timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ": the connection broke"
	}
	return ""
}

// classes are what can be done about the server's errors, by the beginning of their code.
// https://www.postgresql.org/docs/current/errcodes-appendix.html
var classes = []struct {
	code  string
	class provision.Class
}{
	{"08", provision.Busy},        // the connection
	{"22", provision.Invalid},     // text that is none, numbers that are too large
	{"25006", provision.Busy},     // a standby, which may not write
	{"25P03", provision.Busy},     // our process hung in the middle
	{"28", provision.Denied},      // the password
	{"3D000", provision.NotFound}, // no such database
	{"40", provision.Busy},        // a deadlock, or transactions in each other's way
	{"42501", provision.Denied},   // the role may not
	{"53", provision.Busy},        // connections, memory, disk
	{"55P03", provision.Busy},     // others had the lock for too long
	{"57", provision.Busy},        // shut down, started up, or cancelled
}

// Classify implements [sqlstore.Backend]. Only the server's own words are repeated.
func (s *server) Classify(what string, err error) error {
	var ours *provision.Error
	var e *pgconn.PgError
	switch {
	case err == nil, errors.As(err, &ours):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("store: %s: %w", what, err)
	case errors.As(err, new(*lostError)):
		return &provision.Error{Class: provision.Busy, Text: "store: " + what + ": " + err.Error(), Err: err}
	case errors.As(err, new(*doubtError)):
		return &provision.Error{Class: provision.Busy, Text: "store: " + what + ": " + err.Error(), Err: err,
			Next: "send the same again, with the same Idempotency-Key where there was one"}
	case !errors.As(err, &e):
		return provision.Errorf(provision.Internal, "store: %s: %w", what, err)
	}
	class := provision.Internal
	for _, c := range classes {
		if strings.HasPrefix(e.Code, c.code) {
			class = c.class
		}
	}
	return &provision.Error{Class: class, Text: "store: " + what + ": " + e.Code + " " + e.Message, Err: err}
}

// Again implements [sqlstore.Backend].
func (s *server) Again(err error) bool {
	var e *pgconn.PgError
	var gone *lostError
	switch {
	case errors.As(err, &gone):
		return !gone.late
	case !errors.As(err, &e):
		return false
	case e.Code == "25006":
		s.pool.Reset() // the address may name another server, which takes over
		return true
	}
	return strings.HasPrefix(e.Code, "40") || e.Code == "57P01"
}
