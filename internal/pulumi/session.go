package pulumi

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optimport"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optpreview"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optup"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A session is one stack of one program, in a private folder, for one job.
type session struct {
	p     *Program
	job   provision.Job
	label string // the stack, as people know it
	root  string // the private folder, which holds the ones that follow
	lock  *os.File
	dir   string // the program
	cmd   *command
	stack auto.Stack

	places  []provision.Place // where new servers may stand; nil leaves it to the program
	place   int               // the one of places that is tried now
	refused []string          // what Hetzner had none of, each with its reason

	state    *state                      // as it was last exported; nil if it was not
	fresh    bool                        // the stack was made by this session, so nothing is pending in it
	done     []provision.Change          // so far
	unsure   []apitype.StepEventMetadata // creates of the last update that have not ended
	tookOver bool                        // resources whose making failed have been looked for
}

// The project of a program in our own process.
const (
	inlineProject = "prego"
	inlineRuntime = "go"
)

// open prepares a private folder and fetches the program.
func (p *Program) open(ctx context.Context, j provision.Job, stack string, places []provision.Place) (_ *session, err error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	s := &session{p: p, job: j, label: stack, places: places}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.root, s.lock, err = privateDir(p.TempDir); err != nil {
		return nil, provision.Errorf(provision.Internal, "private folder for pulumi: %w", err)
	}
	s.dir = filepath.Join(s.root, "program")
	if s.cmd, err = p.command(ctx, s.root, s.lock); err != nil {
		return nil, err
	}
	if err := s.fetch(ctx); err != nil {
		return nil, err
	}
	name := stack
	if p.Organization != "" && p.hosted() {
		name = p.Organization + "/" + stack
	}
	w, err := auto.NewLocalWorkspace(ctx, auto.WorkDir(s.dir), auto.Pulumi(s.cmd), auto.Program(p.Inline),
		auto.PulumiHome(s.cmd.home))
	if err != nil {
		return nil, provision.Errorf(provision.Internal, "workspace of stack %s: %s", stack, firstLine(err.Error()))
	}
	// Selecting costs a process and gives nothing: our command answers it by itself.
	if s.stack, err = auto.SelectStack(ctx, name, w); err != nil {
		return nil, provision.Errorf(provision.Internal, "stack %s: %s", stack, firstLine(err.Error()))
	}
	return s, s.install(ctx, w)
}

func (p *Program) check() error {
	n := 0
	for _, is := range []bool{p.Source != nil, p.Dir != "", p.Inline != nil} {
		if is {
			n++
		}
	}
	if n != 1 {
		return provision.Errorf(provision.Invalid, "exactly one pulumi program is needed, %d are named", n)
	}
	return nil
}

// hosted reports whether the backend is Pulumi's own service, which has organisations.
func (p *Program) hosted() bool {
	return p.BackendURL == "" || strings.HasPrefix(p.BackendURL, "https://") || strings.HasPrefix(p.BackendURL, "http://")
}

// fetch puts the program into s.dir.
func (s *session) fetch(ctx context.Context) error {
	switch {
	case s.p.Source != nil:
		commit, err := s.p.Source.checkout(ctx, s.p, s.root, s.dir)
		if err == nil {
			s.note("program %s at commit %s", s.p.Source.name(), commit)
		}
		return err
	case s.p.Dir != "":
		if err := os.CopyFS(s.dir, os.DirFS(s.p.Dir)); err != nil {
			return provision.Errorf(provision.Invalid, "program in %s: %w", s.p.Dir, err)
		}
		return nil
	}
	project := workspace.Project{
		Name:    tokens.PackageName(inlineProject),
		Runtime: workspace.NewProjectRuntimeInfo(inlineRuntime, nil),
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return provision.Errorf(provision.Internal, "private folder for pulumi: %w", err)
	}
	if err := project.Save(filepath.Join(s.dir, "Pulumi.yaml")); err != nil {
		return provision.Errorf(provision.Internal, "project of the built-in program: %w", err)
	}
	return nil
}

// install fetches what a program in another language than YAML depends on.
func (s *session) install(ctx context.Context, w auto.Workspace) error {
	if s.p.Inline != nil {
		s.cmd.light()
		return nil
	}
	project, err := w.ProjectSettings(ctx)
	if err != nil {
		return provision.Errorf(provision.Invalid, "the program has no Pulumi.yaml that can be read: %s", firstLine(err.Error()))
	}
	if project.Runtime.Name() == "yaml" {
		s.cmd.light()
		return nil
	}
	if err := w.Install(ctx, &auto.InstallOptions{NoPlugins: true}); err != nil {
		return s.classify(ctx, "installing what the program depends on", nil, err)
	}
	return nil
}

func (s *session) close() {
	if s.root != "" {
		_ = os.RemoveAll(s.root) // what stays is swept up by a later run
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

// preview plans the update and writes the plan to a file. The report is never nil.
func (s *session) preview(ctx context.Context) (*report, error) {
	r, ch, wait := s.watch("preview")
	_, err := s.stack.Preview(ctx, optpreview.Plan(s.planFile()), optpreview.Exclude(s.unfinished()), optpreview.EventStreams(ch),
		optpreview.Color("never"), optpreview.SuppressProgress(), optpreview.SuppressOutputs())
	wait()
	if err == nil && !r.whole() {
		return r, provision.Errorf(provision.Internal, "preview of stack %s: pulumi did not tell all that it planned", s.label)
	}
	return r, s.classify(ctx, "preview", r, err)
}

// up updates the stack within the plan that preview wrote. The report is never nil.
func (s *session) up(ctx context.Context) (*report, error) {
	r, ch, wait := s.watch("up")
	_, err := s.stack.Up(ctx, optup.Plan(s.planFile()), optup.Exclude(s.unfinished()), optup.EventStreams(ch),
		optup.Color("never"), optup.SuppressProgress(), optup.SuppressOutputs())
	wait()
	return r, s.classify(ctx, "update", r, err)
}

func (s *session) planFile() string { return filepath.Join(s.root, "plan.json") }

// watch returns a report and the channel that feeds it; wait returns when the report is
// complete.
func (s *session) watch(what string) (r *report, ch chan events.EngineEvent, wait func()) {
	r = &report{tell: s.p.tell, clean: s.p.clean, live: what == "up"}
	ch = make(chan events.EngineEvent)
	stop, done, all := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.cmd.heard = all
	go func() {
		defer close(done)
		for {
			select {
			case e, ok := <-ch:
				if !ok {
					close(all)
					return
				}
				r.broken = r.broken || e.Error != nil
				r.add(e.EngineEvent)
			case <-stop: // the command never connected, so that nobody closes ch
				return
			}
		}
	}()
	return r, ch, func() { close(stop); <-done }
}

// create makes the stack. That another run was quicker is just as well.
func (s *session) create(ctx context.Context) error {
	err := s.classify(ctx, "making the stack", nil, s.stack.Workspace().CreateStack(ctx, s.stack.Name()))
	if failureOf(err).exists {
		return nil
	}
	s.fresh = err == nil
	return err
}

// throwaway goes over to a new backend that is removed with the session, and makes the
// stack there.
func (s *session) throwaway(ctx context.Context) error {
	dir := filepath.Join(s.root, "backend")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return provision.Errorf(provision.Internal, "private folder for pulumi: %w", err)
	}
	s.cmd.backend("file://"+dir, s.p.Passphrase)
	w := s.stack.Workspace()
	if err := s.forgetProvider(ctx); err != nil {
		return err
	}
	stack, err := auto.SelectStack(ctx, s.label, w)
	if err != nil {
		return provision.Errorf(provision.Internal, "stack %s: %s", s.label, firstLine(err.Error()))
	}
	s.stack = stack
	return s.create(ctx)
}

// export reads the stack's state. It goes through a file: the state may be long, and
// secrets in it stay encrypted.
func (s *session) export(ctx context.Context) error {
	file := filepath.Join(s.root, "state.json")
	_, _, _, err := s.cmd.Run(ctx, s.dir, nil, nil, nil, nil, "stack", "export", "--file", file, "--stack", s.stack.Name())
	if err != nil {
		return s.classify(ctx, "reading the stack", nil, err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return provision.Errorf(provision.Internal, "state of stack %s: %w", s.label, err)
	}
	var exported struct {
		Deployment state `json:"deployment"`
	}
	if err := json.Unmarshal(data, &exported); err != nil {
		return provision.Errorf(provision.Internal, "state of stack %s cannot be read", s.label)
	}
	s.state = &exported.Deployment
	return nil
}

// importResources makes the stack hold resources that exist already. The engine does it
// under the stack's lock, so that no other update can be lost by it.
func (s *session) importResources(ctx context.Context, list []*optimport.ImportResource, names map[string]string) error {
	if s.p.Inline != nil {
		variable, stop, err := serveLanguageHost()
		if err != nil {
			return provision.Errorf(provision.Internal, "language host for the import: %w", err)
		}
		defer stop()
		s.cmd.extra = []string{variable}
		defer func() { s.cmd.extra = nil }()
	}
	file := filepath.Join(s.root, "import.json")
	data, err := json.Marshal(map[string]any{"resources": list, "nameTable": names})
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		return provision.Errorf(provision.Internal, "what to import into stack %s: %w", s.label, err)
	}
	// Stack.ImportResources fails unless code is generated, for which a language is needed.
	_, _, _, err = s.cmd.Run(ctx, s.dir, nil, nil, nil, nil, "import", "--yes", "--skip-preview", "--suppress-progress",
		"--suppress-outputs", "--protect=false", "--generate-code=false", "--file", file, "--stack", s.stack.Name())
	return s.classify(ctx, "taking over what exists already", nil, err)
}

func (s *session) note(format string, args ...any) {
	s.p.tell(Progress{Doing: Noted, Text: s.p.clean(fmt.Sprintf(format, args...))})
}
