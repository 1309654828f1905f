-- Times are nanoseconds since 1970, UTC; NULL when they have not come. Names are compared
-- byte by byte, as SQLite does.

-- +goose Up
CREATE TABLE tenants_master (
    tenant_id          TEXT COLLATE "C" PRIMARY KEY,
    company_name       TEXT NOT NULL DEFAULT '',
    subdomain_slug     TEXT COLLATE "C" NOT NULL UNIQUE,
    canonical_hostname TEXT COLLATE "C" NOT NULL, -- unique, as its first label is
    plan_tier          TEXT NOT NULL,
    status             TEXT NOT NULL CHECK (status IN ('Pending', 'Active', 'Pending_Deletion', 'Deleted')),
    node_id            TEXT COLLATE "C" NOT NULL DEFAULT '', -- where its newest job was completed
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL
);
CREATE INDEX tenants_on_node ON tenants_master (node_id) WHERE node_id <> '';

CREATE TABLE provision_jobs (
    job_id             TEXT COLLATE "C" PRIMARY KEY,
    tenant_id          TEXT COLLATE "C" NOT NULL REFERENCES tenants_master (tenant_id),
    status             TEXT NOT NULL CHECK (status IN ('Pending', 'Dispatched', 'Running', 'Completed', 'Failed', 'Cancelled')),
    infra_mode         TEXT NOT NULL CHECK (infra_mode IN ('create_new_server', 'use_existing')),
    dedicated          BIGINT CHECK (dedicated = 1), -- 1 or NULL
    region             TEXT NOT NULL CHECK (region IN ('sg', 'us', 'eu')),
    target_server_id   TEXT COLLATE "C" NOT NULL DEFAULT '',
    subdomain_slug     TEXT COLLATE "C" NOT NULL,
    canonical_hostname TEXT COLLATE "C" NOT NULL,
    trace_id           TEXT COLLATE "C" NOT NULL DEFAULT '',
    plan_tier          TEXT NOT NULL,
    decision_reason    TEXT NOT NULL,
    attempt            BIGINT NOT NULL DEFAULT 1,
    tries              BIGINT NOT NULL DEFAULT 0,
    run_id             TEXT NOT NULL DEFAULT '',
    run_url            TEXT NOT NULL DEFAULT '',
    run_attempt        BIGINT NOT NULL DEFAULT 0, -- of run_id, as GitHub counts
    past_run_id        TEXT NOT NULL DEFAULT '', -- the newest of the attempts before
    node_id            TEXT COLLATE "C" NOT NULL DEFAULT '',
    host               TEXT NOT NULL DEFAULT '',
    stack              TEXT NOT NULL DEFAULT '',
    error              TEXT NOT NULL DEFAULT '',
    error_class        TEXT NOT NULL DEFAULT '',
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    dispatched_at      BIGINT,
    started_at         BIGINT,
    ended_at           BIGINT,
    seq                BIGINT NOT NULL DEFAULT 0 -- the turn in which it was made
);
CREATE UNIQUE INDEX one_active_job ON provision_jobs (tenant_id) WHERE status IN ('Pending', 'Dispatched', 'Running');
CREATE INDEX jobs_of_tenant ON provision_jobs (tenant_id, created_at);
CREATE INDEX jobs_by_age ON provision_jobs (created_at);
CREATE INDEX jobs_on_their_way ON provision_jobs (target_server_id) WHERE status IN ('Pending', 'Dispatched', 'Running');

CREATE TABLE nodes (
    node_id            TEXT COLLATE "C" PRIMARY KEY,
    region             TEXT NOT NULL CHECK (region IN ('sg', 'us', 'eu')),
    host               TEXT NOT NULL,
    status             TEXT NOT NULL CHECK (status IN ('active', 'draining', 'disabled')),
    dedicated          BIGINT NOT NULL CHECK (dedicated IN (0, 1)),
    tenant_id          TEXT COLLATE "C" NOT NULL DEFAULT '',
    provider           TEXT NOT NULL,
    provider_server_id TEXT NOT NULL DEFAULT '',
    ipv6               TEXT NOT NULL DEFAULT '',
    db_host            TEXT NOT NULL DEFAULT '',
    redis_host         TEXT NOT NULL DEFAULT '',
    job_id             TEXT COLLATE "C" NOT NULL DEFAULT '', -- the job that registered it
    created_at         BIGINT NOT NULL,
    changed_seq        BIGINT NOT NULL DEFAULT 0 -- the last turn after which placement sees it otherwise
);
CREATE INDEX nodes_of_job ON nodes (job_id) WHERE job_id <> '';
CREATE INDEX nodes_by_change ON nodes (changed_seq);

CREATE TABLE server_metrics (
    node_id      TEXT COLLATE "C" PRIMARY KEY REFERENCES nodes (node_id),
    cpu_pct      DOUBLE PRECISION,
    memory_pct   DOUBLE PRECISION,
    disk_pct     DOUBLE PRECISION,
    tenant_count BIGINT NOT NULL,
    source       TEXT NOT NULL,
    updated_at   BIGINT NOT NULL
);

CREATE TABLE server_metrics_snapshots (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node_id      TEXT COLLATE "C" NOT NULL,
    cpu_pct      DOUBLE PRECISION,
    memory_pct   DOUBLE PRECISION,
    disk_pct     DOUBLE PRECISION,
    tenant_count BIGINT NOT NULL,
    source       TEXT NOT NULL,
    created_at   BIGINT NOT NULL
);
CREATE INDEX snapshots_by_age ON server_metrics_snapshots (created_at);

-- An event may belong to a job that is not ours: somebody has started its run by hand.
CREATE TABLE trace_events (
    seq         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order in which they came
    event_id    TEXT COLLATE "C" NOT NULL,
    trace_id    TEXT COLLATE "C" NOT NULL DEFAULT '',
    job_id      TEXT COLLATE "C" NOT NULL,
    tenant_id   TEXT COLLATE "C" NOT NULL,
    stage       TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('started', 'succeeded', 'failed', 'skipped')),
    message     TEXT NOT NULL DEFAULT '',
    attempt     BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL DEFAULT 0,
    run_url     TEXT NOT NULL DEFAULT '',
    UNIQUE (job_id, event_id)
);
CREATE INDEX events_of_trace ON trace_events (trace_id, at) WHERE trace_id <> '';

CREATE TABLE audit_logs (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        BIGINT NOT NULL,
    actor     TEXT NOT NULL,
    action    TEXT NOT NULL,
    job_id    TEXT COLLATE "C" NOT NULL,
    tenant_id TEXT COLLATE "C" NOT NULL,
    detail    TEXT NOT NULL
);
CREATE INDEX audit_of_job ON audit_logs (job_id);

CREATE TABLE idempotency_keys (
    scope      TEXT COLLATE "C" NOT NULL,
    key        TEXT COLLATE "C" NOT NULL,
    hash       TEXT NOT NULL,
    job_id     TEXT COLLATE "C" NOT NULL,
    answer     BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (key, scope)
);
CREATE INDEX keys_by_age ON idempotency_keys (created_at);

-- Every transaction that writes takes its turn: whoever has updated this row is alone until
-- it commits. It leaves the turn's number on the nodes that placement sees otherwise after it.
CREATE TABLE write_turn (
    id  BIGINT PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL
) WITH (fillfactor = 10); -- a new version of the row fits into its page
INSERT INTO write_turn (id, seq) VALUES (1, 0);

-- The last transaction of each process: who has lost the answer to its COMMIT looks here.
CREATE TABLE writers (
    writer  TEXT COLLATE "C" PRIMARY KEY,
    number  BIGINT NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- +goose Down
DROP TABLE writers;
DROP TABLE write_turn;
DROP TABLE idempotency_keys;
DROP TABLE audit_logs;
DROP TABLE trace_events;
DROP TABLE server_metrics_snapshots;
DROP TABLE server_metrics;
DROP TABLE nodes;
DROP TABLE provision_jobs;
DROP TABLE tenants_master;
