package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/postgresledger"
	"github.com/pregoi/provision-tenant/internal/dispatch/sqliteledger"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/postgres"
	"github.com/pregoi/provision-tenant/internal/store/sqlite"
)

// A database is where everything is kept: a file, or a server.
type database struct {
	path   string // of SQLite's file; empty for a server
	server string // its address, which has a password in it
}

// String names the database without a password.
func (d database) String() string {
	if d.server == "" {
		return d.path
	}
	u, err := url.Parse(d.server)
	if err != nil {
		return "postgres"
	}
	return "postgres://" + u.Host + u.Path
}

// hold keeps a file for this process alone; a server is for many.
func (d database) hold(ctx context.Context) (release func() error, err error) {
	if d.server != "" {
		return func() error { return nil }, nil
	}
	return sqlite.Hold(ctx, d.path)
}

// open opens the store. Its owner closes it.
func (d database) open(ctx context.Context, o store.Options) (store.Store, error) {
	if d.server != "" {
		return postgres.Open(ctx, d.server, o)
	}
	return sqlite.Open(ctx, d.path, o)
}

// An openLedger is a ledger of dispatches that its owner closes.
type openLedger interface {
	dispatch.Ledger
	Close() error
}

// ledger opens where dispatches are recorded: beside the file, or in the same server.
func (d database) ledger(ctx context.Context) (openLedger, error) {
	if d.server != "" {
		return postgresledger.Open(ctx, d.server)
	}
	return sqliteledger.Open(ctx, strings.TrimSuffix(d.path, ".db")+"-dispatches.db")
}

// database reads where the database is. What DATABASE_URL holds is not repeated in an error:
// the address of a server has a password in it.
func (p *parser) database(getenv func(string) string) database {
	v := p.env("DATABASE_URL")
	scheme, path, _ := strings.Cut(v, "://")
	bad := func(text string) database {
		p.errs = append(p.errs, fmt.Errorf("DATABASE_URL is %s", text))
		return database{}
	}
	switch {
	case v == "":
		state := getenv("XDG_STATE_HOME")
		if home := getenv("HOME"); !filepath.IsAbs(state) && home != "" {
			state = filepath.Join(home, ".local", "state")
		}
		if !filepath.IsAbs(state) {
			return bad("not set, and without HOME there is no place for its file")
		}
		return database{path: filepath.Join(state, "provision-tenant", "controlplane.db")}
	case scheme == "postgres" || scheme == "postgresql":
		return database{server: v}
	case scheme != "sqlite" || path == "":
		return bad("not like sqlite://PATH or postgres://USER:PASSWORD@HOST/NAME")
	}
	unescaped, err := url.PathUnescape(path)
	if err != nil || strings.ContainsAny(path, "?#") || strings.HasSuffix(unescaped, string(os.PathSeparator)) {
		return bad("not like sqlite://PATH: the path has a query, or is no file's")
	}
	return database{path: unescaped}
}
