package sqlite

import (
	"context"
	"errors"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"github.com/pregoi/provision-tenant/internal/store/sqlstore"
)

// Work implements [sqlstore.Backend]. One process works at a time: what the one before it
// had begun is nobody's as soon as its lock is gone, and is handed out again at once.
func (f *file) Work(ctx context.Context, config *river.Config, run func(context.Context, sqlstore.Client) error) error {
	unlock, err := lock(ctx, f.path+"-work")
	if err != nil {
		return err
	}
	if err := f.inherit(ctx); err != nil {
		return errors.Join(err, unlock())
	}
	c, err := river.NewClient(riversqlite.New(f.write), config)
	if err != nil {
		return errors.Join(err, unlock())
	}
	return errors.Join(run(ctx, c), unlock())
}

// inherit takes over what other processes have left: jobs that they had begun, the role of
// River's leader, and jobs of a time before River. That a process ended in the middle of a
// try says nothing of the job: the try is made again, and not counted twice.
func (f *file) inherit(ctx context.Context) error {
	t, err := f.Begin(ctx)
	if err != nil {
		return err
	}
	if err := adopt(ctx, t); err != nil {
		return errors.Join(err, t.Rollback(ctx))
	}
	return t.Commit(ctx)
}

func adopt(ctx context.Context, t sqlstore.Tx) error {
	if _, err := t.Exec(ctx, "UPDATE river_job SET state = 'available', attempt = max(attempt - 1, 0) WHERE state = 'running'"); err != nil {
		return err
	}
	if _, err := t.Exec(ctx, "DELETE FROM river_leader"); err != nil {
		return err
	}
	rows, err := t.Query(ctx, `SELECT job_id, attempt FROM provision_jobs WHERE status = 'Pending' AND job_id NOT IN
		(SELECT cast(args AS TEXT) ->> 'job_id' FROM river_job WHERE finalized_at IS NULL)`)
	if err != nil {
		return err
	}
	var left []sqlstore.Args
	for rows.Next() {
		var a sqlstore.Args
		if err := rows.Scan(&a.JobID, &a.Attempt); err != nil {
			return errors.Join(err, rows.Close())
		}
		left = append(left, a)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(left) == 0 {
		return err
	}
	return t.Trigger(ctx, left)
}
