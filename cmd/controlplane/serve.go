package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/server"
	"github.com/pregoi/provision-tenant/internal/store"
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
			"TRIGGER says who starts runs. in_process starts them from here, where GITHUB_TOKEN is set with\n" +
			"GITHUB_WORKFLOW_DISPATCH_URL or --repo; without a workflow jobs stay Pending for somebody else to\n" +
			"take. dispatcher hands jobs to a dispatcher that serves, queue pushes them into a Cloudflare Queue.\n\n" +
			"One process serves from a SQLite file; another waits ten seconds for it to end, and gives up.\n\n" +
			"Where the workflow and GITHUB_TOKEN are known, whoever starts runs, jobs whose run never started or\n" +
			"never reported are asked about at GitHub and settled; /metrics counts them.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			f.given = c.Flags().Changed("workflow")
			return serve(c.Context(), f, stderr, getenv)
		},
	}
	c.Flags().StringVar(&f.addr, "addr", "127.0.0.1:8080", "`host:port` to listen on")
	c.Flags().StringVar(&f.repo, "repo", "", "the repository whose workflow runs, as `owner/name`")
	c.Flags().StringVar(&f.workflow, "workflow", "provision-tenant.yml", "the workflow's `file`")
	c.Flags().StringVar(&f.ref, "ref", "main", "the `branch` or tag whose workflow runs")
	f.pace.flags(c)
	return c
}

// gcPercent is how much the heap grows before it is collected, unless GOGC says: what there is
// for long is little, and what a request leaves behind much. It took a tenth off the time of an
// order, and 50 MB.
const gcPercent = 400

func serve(ctx context.Context, f serveFlags, stderr io.Writer, getenv func(string) string) (err error) {
	cfg, err := parseConfig(getenv)
	if err != nil {
		return err
	}
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	// What is opened is closed when nothing uses it any more, the last one first.
	var open []io.Closer
	release, err := cfg.database.hold(ctx)
	if err != nil {
		return err
	}
	defer func() {
		for i := range open {
			err = errors.Join(err, open[len(open)-1-i].Close())
		}
		err = errors.Join(err, release())
	}()
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	runs, err := newRuns(ctx, cfg, f.target)
	if err != nil {
		return err
	}
	open = append(open, runs)
	db, err := cfg.database.open(ctx, store.Options{Thresholds: cfg.thresholds, Log: log})
	if err != nil {
		return err
	}
	open = append(open, db)
	s, err := server.New(server.Config{
		Store:           db,
		Key:             cfg.key,
		SkipAuth:        cfg.skipAuth,
		Domain:          cfg.domain,
		PublicTiers:     cfg.publicTiers,
		PublicPerMinute: cfg.perMinute,
		PublicBurst:     cfg.burst,
		PublicPerHour:   cfg.perHour,
		TrustedProxies:  cfg.proxies,
		MaxConnections:  cfg.maxConnections,
		StripeSecret:    cfg.stripe,
		Trigger:         runs.start,
		Sweep: server.Sweep{Look: runs.look, NotStartedAfter: cfg.sweep.notStarted,
			SilentAfter: cfg.sweep.silent, LostAfter: cfg.sweep.lost},
		Log: log,
	})
	if err != nil {
		return invalid([]error{err})
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", f.addr)
	if err != nil {
		return provision.Errorf(provision.Invalid, "%w", err)
	}
	if cfg.skipAuth {
		log.Warn("SKIP_INTERNAL_API_AUTH is set: everybody on this machine may do everything")
	}
	log.Info("listening", slog.String("addr", ln.Addr().String()), slog.String("database", cfg.database.String()), slog.String("runs", runs.about))
	err = s.Serve(ctx, ln)
	log.Info("stopped")
	return err
}
