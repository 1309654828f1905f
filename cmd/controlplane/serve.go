package main

import (
	"io"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/server"
	"github.com/pregoi/provision-tenant/internal/store/sqlite"
)

// serveFlags are what the command line says to serve.
type serveFlags struct {
	addr string
	target
}

func serveCommand(stderr io.Writer, getenv func(string) string) *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Answer the control plane's API until told to stop",
		Long: "Answer the control plane's API until told to stop. The log is JSON on standard error; its line\n" +
			`"listening" has the address, also where --addr leaves the port to the system with :0.` + "\n\n" +
			"Runs are started where GITHUB_TOKEN is set, with GITHUB_WORKFLOW_DISPATCH_URL or --repo;\notherwise jobs stay Pending for somebody else to take.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return serve(c, f, stderr, getenv) },
	}
	c.Flags().StringVar(&f.addr, "addr", "127.0.0.1:8080", "host and port to listen on")
	c.Flags().StringVar(&f.repo, "repo", "", "the repository whose workflow runs, as owner/name")
	c.Flags().StringVar(&f.workflow, "workflow", "provision-tenant.yml", "the workflow's file")
	c.Flags().StringVar(&f.ref, "ref", "main", "the branch or tag whose workflow runs")
	return c
}

func serve(c *cobra.Command, f serveFlags, stderr io.Writer, getenv func(string) string) error {
	ctx := c.Context()
	cfg, err := parseConfig(getenv)
	if err != nil {
		return err
	}
	trigger, about, err := newTrigger(cfg, f.target, c.Flags().Changed("workflow"))
	if err != nil {
		return err
	}
	db, err := sqlite.Open(ctx, cfg.database)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	defer func() {
		if err := db.Close(); err != nil {
			log.Error("close the database", slog.Any("error", err))
		}
	}()
	s, err := server.New(server.Config{
		Store:      db,
		Key:        cfg.key,
		SkipAuth:   cfg.skipAuth,
		Thresholds: cfg.thresholds,
		Domain:     cfg.domain,
		Trigger:    trigger,
		Log:        log,
	})
	if err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", f.addr)
	if err != nil {
		return provision.Errorf(provision.Invalid, "%w", err)
	}
	if cfg.skipAuth {
		log.Warn("SKIP_INTERNAL_API_AUTH is set: everybody on this machine may do everything")
	}
	log.Info("listening", slog.String("addr", ln.Addr().String()), slog.String("database", cfg.database), slog.String("runs", about))
	err = s.Serve(ctx, ln)
	log.Info("stopped")
	return err
}
