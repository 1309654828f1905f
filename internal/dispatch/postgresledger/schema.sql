-- Times are nanoseconds since 1970, UTC; NULL when there is none.
CREATE TABLE IF NOT EXISTS dispatch_ledger (
    job_id       TEXT COLLATE "C" PRIMARY KEY,
    version      BIGINT NOT NULL,
    hash         TEXT NOT NULL,
    state        TEXT NOT NULL,
    until_at     BIGINT,
    sends        INTEGER NOT NULL,
    first_at     BIGINT,
    sent_at      BIGINT,
    looks        INTEGER NOT NULL,
    look_at      BIGINT,
    run_id       BIGINT NOT NULL,
    run_url      TEXT NOT NULL,
    run_html_url TEXT NOT NULL,
    reason       TEXT NOT NULL,
    class        TEXT NOT NULL,
    next_action  TEXT NOT NULL,
    attempt      INTEGER NOT NULL,
    after_run_id BIGINT NOT NULL, -- the runs of the attempts before it
    mark         BIGINT NOT NULL -- which Save has written the row, for one that did not hear whether it has
);

-- One row: when writes are, and until when GitHub wants quiet, by the server's clock.
CREATE TABLE IF NOT EXISTS dispatch_pace (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    version     BIGINT NOT NULL,
    quiet_until BIGINT,
    strikes     INTEGER NOT NULL,
    last_at     BIGINT,
    writes      BIGINT[] NOT NULL
);

-- Messages that can never become a run.
CREATE TABLE IF NOT EXISTS dispatch_refusals (
    message_id TEXT COLLATE "C" PRIMARY KEY,
    job_id     TEXT NOT NULL,
    at         BIGINT NOT NULL,
    class      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    body       BYTEA NOT NULL
);
CREATE INDEX IF NOT EXISTS dispatch_refusals_at ON dispatch_refusals (at);

-- Jobs that somebody was told are taken on. message is JSON.
CREATE TABLE IF NOT EXISTS dispatch_inbox (
    job_id  TEXT COLLATE "C" PRIMARY KEY,
    message TEXT NOT NULL,
    due_at  BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS dispatch_inbox_due ON dispatch_inbox (due_at);
