-- What tells the jobs on their way from those that have ended is asked of every row that is
-- stored: SQLite makes a table for each IN with more than two values, which took longer than
-- storing the job.

-- +goose Up
UPDATE provision_jobs SET ended_at = updated_at WHERE ended_at IS NULL AND status IN ('Completed', 'Failed', 'Cancelled');
UPDATE provision_jobs SET ended_at = NULL WHERE ended_at IS NOT NULL AND status IN ('Pending', 'Dispatched', 'Running');
DROP INDEX one_active_job;
DROP INDEX jobs_on_their_way;
CREATE UNIQUE INDEX one_active_job ON provision_jobs (tenant_id) WHERE ended_at IS NULL;
CREATE INDEX jobs_on_their_way ON provision_jobs (target_server_id) WHERE ended_at IS NULL;

-- +goose Down
DROP INDEX jobs_on_their_way;
DROP INDEX one_active_job;
CREATE UNIQUE INDEX one_active_job ON provision_jobs (tenant_id) WHERE status IN ('Pending', 'Dispatched', 'Running');
CREATE INDEX jobs_on_their_way ON provision_jobs (target_server_id) WHERE status IN ('Pending', 'Dispatched', 'Running');
