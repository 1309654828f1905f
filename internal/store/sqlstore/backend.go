package sqlstore

import (
	"context"

	"github.com/riverqueue/river"
)

// A Backend is a database. Outside of a transaction it reads.
type Backend interface {
	Queryer
	// Begin begins a transaction that may write.
	Begin(ctx context.Context) (Tx, error)
	// Classify says what can be done about an error of the driver's, in public words.
	Classify(what string, err error) error
	// Shared reports whether other processes write the database, too, so that what they have
	// committed must be looked for before a question is answered from memory.
	Shared() bool
	// Claim keeps the keys for tx until it ends, before it takes its turn, and reports which of
	// them another process has. It is called where Shared reports true.
	Claim(ctx context.Context, tx Tx, keys []string) (taken []bool, err error)
	// Again reports whether a transaction that ended in err has changed nothing, and may well
	// succeed when it is made again at once.
	Again(err error) bool
	// Work makes a client that works the jobs of [Args] as config says, and calls run with it
	// as soon as this process may work: on some databases one process does at a time. What a
	// process that is gone had begun is handed out again. The client stops when run's context
	// is done, with [ErrGone] where that was not ctx's end; then run may be called again.
	Work(ctx context.Context, config *river.Config, run func(ctx context.Context, c Client) error) error
	Close() error
}

// A Queryer is a database or a transaction.
type Queryer interface {
	Query(ctx context.Context, query string, args ...any) (Rows, error)
}

// Rows are what a query answers. They are closed.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close() error
}

// A Tx is a transaction.
type Tx interface {
	Queryer
	Exec(ctx context.Context, query string, args ...any) (affected int64, err error)
	// ExecMany executes the statement once for each list of arguments, at the next Query, Exec
	// or Commit at the latest, which then returns its error.
	ExecMany(ctx context.Context, query string, args [][]any) error
	// Insert inserts the rows, at least one, into what into names: a table and its columns. An
	// error may come as late as that of ExecMany, and may leave some of the rows there: the
	// transaction is to be undone.
	Insert(ctx context.Context, into string, rows [][]any) error
	// Trigger gives River the jobs, at least one.
	Trigger(ctx context.Context, jobs []Args) error
	Commit(ctx context.Context) error
	Rollback(ctx context.Context) error
}

// A Client is a [river.Client], whatever its transactions are.
type Client interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	StopAndCancel(ctx context.Context) error
}

// A List is an argument that IN {$1} looks in.
type List []string

// all reads every row.
func all[T any](ctx context.Context, q Queryer, query string, args []any, scan func(Rows) (T, error)) ([]T, error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err has said what there is to say
	var list []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// one reads the first row, nil where there is none.
func one[T any](ctx context.Context, q Queryer, query string, args []any, scan func(Rows) (T, error)) (*T, error) {
	list, err := all(ctx, q, query, args, scan)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// scan reads rows of one column.
func scan[T any](r Rows) (v T, err error) {
	err = r.Scan(&v)
	return v, err
}
