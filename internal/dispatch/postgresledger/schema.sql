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
    next_action  TEXT NOT NULL
);
