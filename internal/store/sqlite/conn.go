package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"

	"modernc.org/sqlite"
)

// maxStatements is how many statements a connection keeps: all that there are, but for
// those whose text depends on their arguments.
const maxStatements = 200

// A connector makes connections that keep their statements, River's too: to parse one takes
// twice as long as to run it.
type connector string

// Connect implements [driver.Connector].
func (name connector) Connect(context.Context) (driver.Conn, error) {
	c, err := name.Driver().Open(string(name))
	if err != nil {
		return nil, err
	}
	inner, ok := c.(inner)
	if !ok {
		return nil, errors.Join(errors.New("the driver's connection lacks a method"), c.Close())
	}
	return &conn{inner, map[string]*statement{}}, nil
}

// Driver implements [driver.Connector].
func (name connector) Driver() driver.Driver { return &sqlite.Driver{} }

// An inner is what the driver's connections can do.
type inner interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	driver.ExecerContext
	driver.QueryerContext
}

// A conn is a connection that keeps its statements. It is used by one goroutine at a time.
type conn struct {
	inner
	statements map[string]*statement
}

// A statement is one that is kept.
type statement struct {
	prepared
	busy bool // its rows are being read
}

// A prepared is what the driver's statements can do.
type prepared interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// Close implements [driver.Conn].
func (c *conn) Close() error {
	var errs []error
	for _, s := range c.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.inner.Close())...)
}

// statement returns the kept statement with this text, nil when it cannot be used.
func (c *conn) statement(ctx context.Context, query string) (*statement, error) {
	if s, ok := c.statements[query]; ok {
		if s.busy {
			return nil, nil
		}
		return s, nil
	}
	if len(c.statements) == maxStatements {
		return nil, nil
	}
	p, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s, ok := p.(prepared)
	if !ok {
		return nil, p.Close()
	}
	c.statements[query] = &statement{prepared: s}
	return c.statements[query], nil
}

// ExecContext implements [driver.ExecerContext]. What has no arguments is done once or in a
// while, and may be several statements: a migration.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) > 0 {
		s, err := c.statement(ctx, query)
		if err != nil {
			return nil, err
		}
		if s != nil {
			return s.ExecContext(ctx, args)
		}
	}
	return c.inner.ExecContext(ctx, query, args)
}

// QueryContext implements [driver.QueryerContext].
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.inner.QueryContext(ctx, query, args)
	}
	r, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	return &rows{r, s}, nil
}

// rows give their statement free.
type rows struct {
	driver.Rows
	of *statement
}

// Close implements [driver.Rows].
func (r *rows) Close() error {
	r.of.busy = false
	return r.Rows.Close()
}
