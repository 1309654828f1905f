-- A job can be tried again, by an operator or at GitHub, and late reports are told apart.

-- +goose Up
ALTER TABLE provision_jobs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE provision_jobs ADD COLUMN run_attempt INTEGER NOT NULL DEFAULT 0; -- of run_id, as GitHub counts
ALTER TABLE provision_jobs ADD COLUMN past_run_id TEXT NOT NULL DEFAULT ''; -- the newest of the attempts before
ALTER TABLE provision_jobs ADD COLUMN seq INTEGER NOT NULL DEFAULT 0; -- the turn in which it was made

-- +goose Down
ALTER TABLE provision_jobs DROP COLUMN seq;
ALTER TABLE provision_jobs DROP COLUMN past_run_id;
ALTER TABLE provision_jobs DROP COLUMN run_attempt;
ALTER TABLE provision_jobs DROP COLUMN attempt;
