package sqliteledger

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// A group is the writes that wait for the disk. Those that come while others are written
// through are written through together after them: it is the disk that takes the time.
type group struct {
	mu      sync.Mutex
	waiting []*write
	turn    chan struct{} // holds who writes for all
}

// A write is one statement, and what came of it once done is closed.
type write struct {
	statement string
	values    []any
	done      chan struct{}
	rows      int64
	err       error
}

// groupTime bounds the writing of a group, which is longer than anything may lock the file.
const groupTime = 10 * time.Second

// one runs a statement that changes one row or none, and reports which.
func (l *Ledger) one(ctx context.Context, what, statement string, values []any) (bool, error) {
	w := &write{statement: statement, values: values, done: make(chan struct{})}
	l.group.mu.Lock()
	if ctx.Err() == nil {
		l.group.waiting = append(l.group.waiting, w)
	}
	l.group.mu.Unlock()
	for {
		select {
		case <-w.done:
			return w.rows == 1, classify(what, w.err)
		case <-ctx.Done():
			return false, classify(what, ctx.Err()) // it may be written all the same
		case l.group.turn <- struct{}{}:
			l.writeAll(ctx)
			<-l.group.turn
		}
	}
}

// maxGroup bounds how long the first of a group waits for the last.
const maxGroup = 256

// writeAll writes what waits. It is done also for those who are not the caller, whose
// end is not theirs.
func (l *Ledger) writeAll(ctx context.Context) {
	l.group.mu.Lock()
	n := min(len(l.group.waiting), maxGroup)
	list := l.group.waiting[:n:n]
	l.group.waiting = l.group.waiting[n:]
	l.group.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTime)
	defer cancel()
	if n < 2 || !l.together(ctx, list) {
		for _, w := range list {
			w.run(ctx, l.db)
		}
	}
	for _, w := range list {
		close(w.done)
	}
}

// together writes list in one transaction. It answers false when one of them fails, and
// nothing is written.
func (l *Ledger) together(ctx context.Context, list []*write) bool {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return false
	}
	for _, w := range list {
		if w.run(ctx, tx); w.err != nil {
			_ = tx.Rollback() // each is written by itself
			return false
		}
	}
	if err := tx.Commit(); err != nil { // nobody knows
		for _, w := range list {
			w.err = err
		}
	}
	return true
}

type execer interface {
	ExecContext(ctx context.Context, statement string, values ...any) (sql.Result, error)
}

func (w *write) run(ctx context.Context, db execer) {
	var result sql.Result
	if result, w.err = db.ExecContext(ctx, w.statement, w.values...); w.err == nil {
		w.rows, w.err = result.RowsAffected()
	}
}
