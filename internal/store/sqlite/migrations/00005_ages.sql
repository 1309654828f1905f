-- What is old is found without a look at everything.

-- +goose Up
CREATE INDEX keys_by_age ON idempotency_keys (created_at);
CREATE INDEX snapshots_by_age ON server_metrics_snapshots (created_at);

-- +goose Down
DROP INDEX snapshots_by_age;
DROP INDEX keys_by_age;
