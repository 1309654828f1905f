package main

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/dispatchserver"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// serveFlags are what the command line says to serve.
type serveFlags struct {
	target
	pace                  paceFlags
	addr                  string
	allowUnknown, machine bool
	wait                  time.Duration
}

// serve takes messages over HTTP.
func (p *program) serve() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Take messages over HTTP",
		Long: `Serve takes ProvisionQueueMessages over HTTP and starts one run with each, as dispatch
does. Callers bear INTERNAL_API_KEY, which has at least 32 characters.

  POST /dispatch       one message: 200 with the run; 202 when it is taken on, and the run
                       takes longer than --wait: it is on disk, and goes on after a restart;
                       409 for a job_id that had another content; 422 with every wrong
                       field; 429 and 503 with Retry-After
  GET /jobs/{job_id}   the job's record, and how GitHub's limits stand
  GET /refusals        the latest messages that can never become a run; ?limit=N
  GET /healthz         the process answers
  GET /readyz          the ledger answers, and GitHub takes the token and has the workflow
  GET /metrics         for Prometheus

The last three take no key.

` + targetHelp + `

` + ledgerHelp + `

` + paceHelp + `

SIGTERM ends it within 7 seconds. The log's line "listening" has the address, also where
--addr leaves the port to the system with :0.`,
		Example: `  dispatcher serve --repo pregoi/prego --addr 127.0.0.1:8090
  curl -H "Authorization: Bearer $INTERNAL_API_KEY" --data @message.json http://127.0.0.1:8090/dispatch`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.serveMessages(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	f.target.flags(cmd)
	f.pace.flags(cmd)
	flags.StringVar(&f.addr, "addr", "127.0.0.1:8090", "`host:port` to listen on")
	flags.DurationVar(&f.wait, "wait", 5*time.Second, "how long a request waits for its run, at most 1m")
	flags.BoolVar(&f.allowUnknown, "allow-unknown", false, "ignore fields that a message does not have")
	flags.BoolVar(&f.machine, "json", false, "log JSON")
	return cmd
}

func (p *program) serveMessages(ctx context.Context, f serveFlags) error {
	if f.wait <= 0 || f.wait > time.Minute {
		return provision.Errorf(provision.Invalid, "--wait %s is not from more than 0 to 1m", f.wait)
	}
	w, err := p.remote(f.target)
	if err != nil {
		return err
	}
	if err := authorised(w); err != nil {
		return err
	}
	d, err := p.open(ctx, newSender(w), f.pace)
	if err != nil {
		return err
	}
	defer d.close()
	d.watch(nil)
	log := p.log(f.machine)
	c := d.config(p.getenv("INTERNAL_API_KEY"), log)
	c.Dispatch, c.Inbox, c.AllowUnknown, c.Wait = d.deliver, d.ledger, f.allowUnknown, f.wait
	s, err := dispatchserver.New(c)
	if err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", f.addr)
	if err != nil {
		return provision.Errorf(provision.Invalid, "%w", err)
	}
	log.Info("listening", slog.String("addr", ln.Addr().String()), slog.String("workflow", w.String()))
	err = s.Serve(ctx, ln)
	log.Info("stopped")
	return err
}
