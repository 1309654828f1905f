package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store/sqlite"
)

func backupCommand(stdout io.Writer, getenv func(string) string) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the database into a file, while it is in use or not",
		Long: "Copy the SQLite database that DATABASE_URL names into FILE, which must not be there yet. The copy is\n" +
			"of one moment, and whoever serves meanwhile goes on. To restore it, put it where DATABASE_URL points\n" +
			"while nobody serves; beside it, the file that ends in -dispatches.db remembers which runs were\n" +
			"started: keep it as it is. A Postgres database is backed up with pg_dump.",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return backup(c.Context(), args[0], stdout, getenv)
		},
	}
}

func backup(ctx context.Context, to string, stdout io.Writer, getenv func(string) string) error {
	p := &parser{env: func(name string) string { return strings.TrimSpace(getenv(name)) }}
	d := p.database(getenv)
	if err := invalid(p.errs); err != nil {
		return err
	}
	if d.server != "" {
		return &provision.Error{Class: provision.Invalid, Text: "DATABASE_URL names a Postgres server, which has a backup of its own",
			Next: "use pg_dump"}
	}
	if err := sqlite.Backup(ctx, d.path, to); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "%s is copied into %s\n", d, to); err != nil {
		return provision.Errorf(provision.Internal, "print: %w", err)
	}
	return nil
}
