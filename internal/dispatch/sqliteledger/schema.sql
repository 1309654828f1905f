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
    next_action  TEXT NOT NULL
) STRICT;
