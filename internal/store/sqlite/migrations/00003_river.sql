-- River says when a job is due. Its tables are made by its own migrations; the jobs that
-- were waiting before it came are given to it on opening.

-- +goose Up
DROP INDEX jobs_due;
ALTER TABLE provision_jobs DROP COLUMN due_at;

-- +goose Down
ALTER TABLE provision_jobs ADD COLUMN due_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_due ON provision_jobs (due_at) WHERE status = 'Pending';
