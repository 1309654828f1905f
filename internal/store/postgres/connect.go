package postgres

import (
	"cmp"
	"context"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// connectTime bounds how long it may take to connect.
	connectTime = 5 * time.Second
	// statementTime bounds every statement that reads, and every transaction that writes.
	statementTime = 10 * time.Second
	// maxConns is how many connections the pool has, unless the address says.
	maxConns = 10
)

// settings are what the server is told of each connection, unless the address says otherwise:
// it shall not let a process that has gone, or hangs, keep others waiting.
// https://www.postgresql.org/docs/current/runtime-config-client.html
var settings = map[string]string{
	"application_name":                    "controlplane",
	"statement_timeout":                   "30s", // also River's
	"lock_timeout":                        "8s",
	"idle_in_transaction_session_timeout": "10s",
	"tcp_keepalives_idle":                 "5",
	"tcp_keepalives_interval":             "2",
	"tcp_keepalives_count":                "3",
}

// parse reads the address. The connections break when line is done.
func parse(line context.Context, address string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, notAnAddress()
	}
	if !strings.Contains(address, "pool_max_conns") {
		config.MaxConns = maxConns
	}
	c := config.ConnConfig
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, connectTime)
	for name, value := range settings {
		c.RuntimeParams[name] = cmp.Or(c.RuntimeParams[name], value)
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}
	c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &conn{raw, context.AfterFunc(line, func() { _ = raw.Close() })}, nil
	}
	return config, nil
}

// A conn is a connection that breaks when the line does.
type conn struct {
	net.Conn
	loose func() bool
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.loose()
	return c.Conn.Close()
}
