-- Every transaction that writes takes its turn, and leaves its number on the nodes that
-- placement sees otherwise after it. FAIL, which undoes nothing by itself, spares SQLite to keep
-- the pages as they were: the transaction is undone.

-- +goose Up
CREATE TABLE write_turn (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL ON CONFLICT FAIL
) STRICT;
INSERT INTO write_turn (id, seq) VALUES (1, 0);
ALTER TABLE nodes ADD COLUMN changed_seq INTEGER NOT NULL ON CONFLICT FAIL DEFAULT 0;
CREATE INDEX nodes_of_job ON nodes (job_id) WHERE job_id <> '';

-- +goose Down
DROP INDEX nodes_of_job;
ALTER TABLE nodes DROP COLUMN changed_seq;
DROP TABLE write_turn;
