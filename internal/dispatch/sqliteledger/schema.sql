-- Times are nanoseconds since 1970, UTC; NULL when there is none.
CREATE TABLE IF NOT EXISTS dispatch_ledger (
    job_id       TEXT PRIMARY KEY,
    version      INTEGER NOT NULL,
    hash         TEXT NOT NULL,
    state        TEXT NOT NULL,
    until_at     INTEGER,
    sends        INTEGER NOT NULL,
    first_at     INTEGER,
    sent_at      INTEGER,
    looks        INTEGER NOT NULL,
    look_at      INTEGER,
    run_id       INTEGER NOT NULL,
    run_url      TEXT NOT NULL,
    run_html_url TEXT NOT NULL,
    reason       TEXT NOT NULL,
    class        TEXT NOT NULL,
    next_action  TEXT NOT NULL,
    attempt      INTEGER NOT NULL,
    after_run_id INTEGER NOT NULL -- the runs of the attempts before it
) STRICT;

-- One row: when writes are, and until when GitHub wants quiet. writes is JSON.
CREATE TABLE IF NOT EXISTS dispatch_pace (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    version     INTEGER NOT NULL,
    quiet_until INTEGER,
    strikes     INTEGER NOT NULL,
    last_at     INTEGER,
    writes      TEXT NOT NULL
) STRICT;

-- Messages that can never become a run.
CREATE TABLE IF NOT EXISTS dispatch_refusals (
    message_id TEXT PRIMARY KEY,
    job_id     TEXT NOT NULL,
    at         INTEGER NOT NULL,
    class      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    body       BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS dispatch_refusals_at ON dispatch_refusals (at);

-- Jobs that somebody was told are taken on. message is JSON.
CREATE TABLE IF NOT EXISTS dispatch_inbox (
    job_id  TEXT PRIMARY KEY,
    message TEXT NOT NULL,
    due_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS dispatch_inbox_due ON dispatch_inbox (due_at);
