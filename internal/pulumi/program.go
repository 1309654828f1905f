// Package pulumi is the edge to Pulumi: it fetches a program, and makes a stack hold a
// job's servers, through the Automation API and a [Program] that the pipeline knows as
// its Program.
//
// What the package promises, whatever the program does: no server and nothing else that
// a provider made is deleted or replaced; on a shared stack no other node's server is
// changed; a stack that records another tenant is left alone; nothing is made twice,
// also when an earlier run was killed while Hetzner was making it. A stack is previewed
// first, the preview is judged (guard.go), and the update is held to it by the engine
// itself, so that a stack that moved in between cannot lose anything (update.go).
//
// The program and this package agree on the config of the namespace prego and on
// outputs: see config.go and outputs.go. On a shared stack the server of node KEY is the
// resource named node-KEY: by that name a node whose job was killed before it could be
// exported is kept by the jobs that follow.
//
// To learn something new from an update, teach [report] another engine event. To treat
// another failure in its own way, add it to the table in errors.go.
package pulumi

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	sdk "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Program is the Pulumi program whose stacks hold the servers, and the settings it is
// run with. It is ready as a literal. Exactly one of Source, Dir and Inline says where it
// is. It may be used by several goroutines.
type Program struct {
	Source *Source     // a git repository, cloned for each run
	Dir    string      // a checkout that is there already; it is copied, never changed
	Inline sdk.RunFunc // a program in our own process, of project "prego"

	Command string   // the pulumi command; empty for the one on Path
	Version string   // what Command answers to `pulumi version`; empty to ask it
	Path    string   // PATH of the command, where it looks for plugins too
	Env     []string // an environment, of which little is passed on: see passedOn
	Plugins string   // a folder of installed plugins, as $PULUMI_HOME/plugins; may be empty
	TempDir string   // where private folders are made; empty for the system's

	BackendURL   string // empty for Pulumi's own service
	AccessToken  string // of Pulumi's own service
	Passphrase   string // of the stacks' secrets
	Organization string // used where the backend has organisations

	HCloudToken    string
	HCloudEndpoint string // empty for Hetzner's own

	Wait    time.Duration // how long a locked or moving stack is waited for; 0 is 10 minutes
	Timeout time.Duration // how long one command may take; 0 is 30 minutes
	Grace   time.Duration // what an interrupted command has before it is killed; 0 is 5 seconds

	// Find looks at Hetzner for a resource that an update may have made without living to
	// record it. It answers only for what carries this job's or stack's own marks. Nil
	// finds nothing.
	Find func(ctx context.Context, r Resource) (id string, found bool, err error)
	// Mask is told every secret that an output turned out to be, before it is used.
	Mask func(secret string)
	// Redact takes out of a text every secret that the caller knows; nil for only those above.
	Redact func(text string) string
	// Progress is told what happens, from one goroutine at a time.
	Progress func(Progress)
	// Log gets the lines that pulumi and its plugins print, as they are: whoever shows them
	// makes them inert. It does not get outputs with their secrets.
	Log io.Writer
}

// A Resource is one that a program declares, as far as it takes to find it at its provider.
type Resource struct {
	Type   string         // "hcloud:index/server:Server"
	Name   string         // its name in the program
	Inputs map[string]any // as the provider got them; "name" is the name at Hetzner
}

// Preview says what Up would do, and changes nothing. A stack that does not exist is
// previewed in a backend that is thrown away.
func (p *Program) Preview(ctx context.Context, j provision.Job, stack string, places ...provision.Place) (provision.StackPlan, error) {
	s, err := p.open(ctx, j, stack, places)
	if err != nil {
		return provision.StackPlan{}, err
	}
	defer s.close()
	var plan *report
	err = s.repeat(ctx, func() error {
		plan, err = s.plan(ctx, s.throwaway)
		return err
	})
	if err != nil {
		return provision.StackPlan{}, err
	}
	result := provision.StackPlan{Changes: plan.changes()}
	if servers, err := s.servers(ctx, plan.olds); err == nil {
		result.Servers = servers
	}
	return result, nil
}

// Up makes the stack hold the job's servers. What an earlier run left half done is
// finished; a stack on which nothing is to do is not touched. New servers are made at the
// first of the places, and what Hetzner has none of there, at the next; without places the
// program chooses. With an error, the result's Changes say what had been done, and the
// error's text also what may exist besides.
func (p *Program) Up(ctx context.Context, j provision.Job, stack string, places ...provision.Place) (provision.StackResult, error) {
	s, err := p.open(ctx, j, stack, places)
	if err != nil {
		return provision.StackResult{}, err
	}
	defer s.close()
	if s.breakDead() {
		s.note("removed the lock that a dead process had left on stack %s", s.label)
	}
	var outputs map[string]any
	err = s.repeat(ctx, func() error {
		outputs, err = s.converge(ctx)
		return err
	})
	if err != nil {
		return s.failed(err)
	}
	servers, err := s.servers(ctx, outputs)
	if err != nil {
		return s.failed(err)
	}
	return provision.StackResult{Changes: s.done, Servers: servers}, nil
}

func (p *Program) wait() time.Duration    { return or(p.Wait, 10*time.Minute) }
func (p *Program) timeout() time.Duration { return or(p.Timeout, 30*time.Minute) }
func (p *Program) grace() time.Duration   { return or(p.Grace, 5*time.Second) }

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// A Progress is something worth telling while a stack is being updated.
type Progress struct {
	Doing   Doing
	Change  provision.Change // for Started, Finished and Failed
	Elapsed time.Duration    // since it was started; how long has been waited already
	Holder  string           // for Waiting: who holds the stack's lock, as far as it is known
	Text    string           // for Noted and Failed: one line, without a secret
}

// Doing says what a [Progress] is about.
type Doing string

// What a [Progress] can be about.
const (
	Started  Doing = "started"  // a resource
	Finished Doing = "finished" // a resource
	Failed   Doing = "failed"   // a resource
	Waiting  Doing = "waiting"  // for a lock
	Noted    Doing = "noted"    // anything else: the commit, a repair
)

func (p *Program) tell(pr Progress) {
	if p.Progress != nil {
		p.Progress(pr)
	}
}

// String returns p as a line for people.
func (p Progress) String() string {
	took := p.Elapsed.Round(time.Second / 10)
	switch p.Doing {
	case Started:
		return p.Change.String()
	case Finished:
		return fmt.Sprintf("%s: done in %v", p.Change, took)
	case Failed:
		return fmt.Sprintf("%s: failed after %v: %s", p.Change, took, p.Text)
	case Waiting:
		return fmt.Sprintf("waiting for %v, the stack is locked by %s", took, cmp.Or(p.Holder, "another update"))
	}
	return p.Text
}
