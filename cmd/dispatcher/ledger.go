package main

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/postgresledger"
	"github.com/pregoi/provision-tenant/internal/dispatch/sqliteledger"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// An openLedger is all that a ledger keeps, which its owner closes.
type openLedger interface {
	dispatch.Ledger
	dispatch.Slots
	dispatch.Refusals
	dispatch.Inbox
	Close() error
}

// ledger opens what DATABASE_URL names. Its value is not repeated in an error: the one of
// a server has a password in it.
func (p *program) ledger(ctx context.Context) (openLedger, error) {
	v := p.getenv("DATABASE_URL")
	scheme, path, _ := strings.Cut(v, "://")
	switch {
	case v == "":
		state := p.getenv("XDG_STATE_HOME")
		if home := p.getenv("HOME"); !filepath.IsAbs(state) && home != "" {
			state = filepath.Join(home, ".local", "state")
		}
		if !filepath.IsAbs(state) {
			return nil, badDatabase("DATABASE_URL is not set, and without HOME there is no place for its file")
		}
		return sqliteledger.Open(ctx, filepath.Join(state, "provision-tenant", "dispatcher.db"))
	case scheme == "postgres" || scheme == "postgresql":
		return postgresledger.Open(ctx, v)
	case scheme != "sqlite" || path == "":
		return nil, badDatabase("DATABASE_URL is not like sqlite://PATH or postgres://USER:PASSWORD@HOST/NAME")
	}
	unescaped, err := url.PathUnescape(path)
	if err != nil || strings.ContainsAny(path, "?#") || strings.HasSuffix(unescaped, string(os.PathSeparator)) {
		return nil, badDatabase("DATABASE_URL is not like sqlite://PATH: the path has a query, or is no file's")
	}
	return sqliteledger.Open(ctx, unescaped)
}

func badDatabase(text string) error {
	return &provision.Error{Class: provision.Invalid, Text: text, Next: "set DATABASE_URL to sqlite://PATH"}
}
