-- Times are nanoseconds since 1970, UTC; NULL when they have not come.
--
-- SQLite makes a table for each IN of more than two values, for every row that it checks. And
-- of a statement that inserts several rows it keeps each page as it was before, where a check
-- calls a function or a reference is not deferred. Hence OR, DEFERRED, and no functions.

-- +goose Up
CREATE TABLE tenants_master (
    tenant_id          TEXT PRIMARY KEY,
    company_name       TEXT NOT NULL DEFAULT '',
    subdomain_slug     TEXT NOT NULL UNIQUE,
    canonical_hostname TEXT NOT NULL, -- unique, as its first label is
    plan_tier          TEXT NOT NULL,
    status             TEXT NOT NULL CHECK (status = 'Pending' OR status = 'Active' OR status = 'Pending_Deletion' OR status = 'Deleted'),
    node_id            TEXT NOT NULL DEFAULT '', -- where its newest job was completed
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL
) STRICT;
CREATE INDEX tenants_on_node ON tenants_master (node_id) WHERE node_id <> '';

CREATE TABLE provision_jobs (
    job_id             TEXT PRIMARY KEY,
    tenant_id          TEXT NOT NULL REFERENCES tenants_master (tenant_id) DEFERRABLE INITIALLY DEFERRED,
    status             TEXT NOT NULL CHECK (status = 'Pending' OR status = 'Dispatched' OR status = 'Running' OR status = 'Completed' OR status = 'Failed' OR status = 'Cancelled'),
    infra_mode         TEXT NOT NULL CHECK (infra_mode IN ('create_new_server', 'use_existing')),
    dedicated          INTEGER CHECK (dedicated = 1), -- 1 or NULL
    region             TEXT NOT NULL CHECK (region = 'sg' OR region = 'us' OR region = 'eu'),
    target_server_id   TEXT NOT NULL DEFAULT '',
    subdomain_slug     TEXT NOT NULL,
    canonical_hostname TEXT NOT NULL,
    trace_id           TEXT NOT NULL DEFAULT '',
    plan_tier          TEXT NOT NULL,
    decision_reason    TEXT NOT NULL,
    tries              INTEGER NOT NULL DEFAULT 0,
    due_at             INTEGER NOT NULL, -- of a Pending job: not triggered before
    run_id             TEXT NOT NULL DEFAULT '',
    run_url            TEXT NOT NULL DEFAULT '',
    node_id            TEXT NOT NULL DEFAULT '',
    host               TEXT NOT NULL DEFAULT '',
    stack              TEXT NOT NULL DEFAULT '',
    error              TEXT NOT NULL DEFAULT '',
    error_class        TEXT NOT NULL DEFAULT '',
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    dispatched_at      INTEGER,
    started_at         INTEGER,
    ended_at           INTEGER
) STRICT;
CREATE UNIQUE INDEX one_active_job ON provision_jobs (tenant_id) WHERE status IN ('Pending', 'Dispatched', 'Running');
CREATE INDEX jobs_of_tenant ON provision_jobs (tenant_id, created_at);
CREATE INDEX jobs_by_age ON provision_jobs (created_at);
CREATE INDEX jobs_due ON provision_jobs (due_at) WHERE status = 'Pending';
CREATE INDEX jobs_on_their_way ON provision_jobs (target_server_id) WHERE status IN ('Pending', 'Dispatched', 'Running');

CREATE TABLE nodes (
    node_id            TEXT PRIMARY KEY,
    region             TEXT NOT NULL CHECK (region = 'sg' OR region = 'us' OR region = 'eu'),
    host               TEXT NOT NULL,
    status             TEXT NOT NULL CHECK (status = 'active' OR status = 'draining' OR status = 'disabled'),
    dedicated          INTEGER NOT NULL CHECK (dedicated IN (0, 1)),
    tenant_id          TEXT NOT NULL DEFAULT '',
    provider           TEXT NOT NULL,
    provider_server_id TEXT NOT NULL DEFAULT '',
    ipv6               TEXT NOT NULL DEFAULT '',
    db_host            TEXT NOT NULL DEFAULT '',
    redis_host         TEXT NOT NULL DEFAULT '',
    job_id             TEXT NOT NULL DEFAULT '', -- the job that registered it
    created_at         INTEGER NOT NULL
) STRICT;

CREATE TABLE server_metrics (
    node_id      TEXT PRIMARY KEY REFERENCES nodes (node_id),
    cpu_pct      REAL,
    memory_pct   REAL,
    disk_pct     REAL,
    tenant_count INTEGER NOT NULL,
    source       TEXT NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE server_metrics_snapshots (
    id           INTEGER PRIMARY KEY,
    node_id      TEXT NOT NULL,
    cpu_pct      REAL,
    memory_pct   REAL,
    disk_pct     REAL,
    tenant_count INTEGER NOT NULL,
    source       TEXT NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

-- An event may belong to a job that is not ours: somebody has started its run by hand.
CREATE TABLE trace_events (
    seq         INTEGER PRIMARY KEY, -- the order in which they came
    event_id    TEXT NOT NULL,
    trace_id    TEXT NOT NULL DEFAULT '',
    job_id      TEXT NOT NULL,
    tenant_id   TEXT NOT NULL,
    stage       TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status = 'started' OR status = 'succeeded' OR status = 'failed' OR status = 'skipped'),
    message     TEXT NOT NULL DEFAULT '',
    attempt     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL DEFAULT 0,
    run_url     TEXT NOT NULL DEFAULT '',
    UNIQUE (job_id, event_id)
) STRICT;
CREATE INDEX events_of_trace ON trace_events (trace_id, at) WHERE trace_id <> '';

CREATE TABLE audit_logs (
    id        INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    actor     TEXT NOT NULL,
    action    TEXT NOT NULL,
    job_id    TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    detail    TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of_job ON audit_logs (job_id);

CREATE TABLE idempotency_keys (
    scope      TEXT NOT NULL,
    key        TEXT NOT NULL,
    hash       TEXT NOT NULL,
    job_id     TEXT NOT NULL,
    answer     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (key, scope)
) STRICT;

-- +goose Down
DROP TABLE idempotency_keys;
DROP TABLE audit_logs;
DROP TABLE trace_events;
DROP TABLE server_metrics_snapshots;
DROP TABLE server_metrics;
DROP TABLE nodes;
DROP TABLE provision_jobs;
DROP TABLE tenants_master;
