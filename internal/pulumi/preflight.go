package pulumi

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// Check refuses what would fail later, when servers may have been made already, and changes
// nothing: a command that is missing, a source without that ref, a backend that cannot be
// reached with these credentials, and a stack that is another tenant's. It starts no pulumi:
// Pulumi's service is asked by HTTP, a folder is looked at. A bucket (s3, gs, azblob) is not
// asked, since each has a protocol and credentials of its own; nor whose the stack of a
// repository's program is, whose project nobody knows before it is cloned, but for Up. The
// stack's lock is not looked at: it may be free when it counts.
func (p *Program) Check(ctx context.Context, j provision.Job, stack string) error {
	if err := p.check(); err != nil {
		return err
	}
	var command, source error
	if p.Command == "" {
		_, command = lookPath("pulumi", p.Path)
	}
	var asked sync.WaitGroup
	if p.Source != nil {
		asked.Go(func() { source = p.Source.look(ctx, p) })
	}
	backend := p.checkBackend(ctx, j, stack)
	asked.Wait()
	return provision.Join(command, source, backend)
}

func (p *Program) checkBackend(ctx context.Context, j provision.Job, stack string) error {
	s := &session{p: p, job: j, label: stack}
	if p.hosted() {
		return s.checkService(ctx)
	}
	if dir := (&command{backendURL: p.BackendURL}).folder(); dir != "" {
		return s.checkFolder(dir)
	}
	return nil
}

// checkFolder looks at a backend that is the folder dir. Pulumi does not make it.
func (s *session) checkFolder(dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return &provision.Error{Class: provision.NotFound, Text: fmt.Sprintf("the backend file://%s is no folder that can be read", dir),
			Next: "make the folder, or correct PULUMI_BACKEND_URL"}
	}
	project := s.project()
	if project == "" {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(dir, ".pulumi", "stacks", project, s.label+".json"))
	if err != nil {
		return nil // there is no such stack, or Pulumi will say what is wrong with it
	}
	var saved struct {
		Checkpoint struct {
			Latest state `json:"latest"`
		} `json:"checkpoint"`
	}
	if json.Unmarshal(data, &saved) != nil {
		return nil // it is being written
	}
	return s.ownedBy(saved.Checkpoint.Latest.tenant(), "its output tenant_id")
}

// project is the program's project; empty if it is not known yet.
func (s *session) project() string {
	if s.p.Inline != nil {
		return inlineProject
	}
	if s.p.Dir != "" {
		if project, err := workspace.LoadProject(filepath.Join(s.p.Dir, "Pulumi.yaml")); err == nil {
			return string(project.Name)
		}
	}
	return ""
}

// tenant is what the stack exports as its tenant_id; nil if it does not.
func (st *state) tenant() any {
	for _, r := range st.Resources {
		if r.Type == stackType {
			return r.Outputs["tenant_id"]
		}
	}
	return nil
}

// lookTime is how long a server may take to list a repository's refs.
const lookTime = 15 * time.Second

// look refuses a repository that cannot be read, and a branch or tag that it does not have.
// Whether it has a commit only fetching it tells.
func (s *Source) look(ctx context.Context, p *Program) error {
	if err := s.check(); err != nil {
		return err
	}
	git, err := lookPath("git", p.Path)
	if err != nil {
		return err
	}
	root, lock, err := privateDir(p.TempDir)
	if lock != nil {
		defer lock.Close()
	}
	if root != "" {
		defer os.RemoveAll(root)
	}
	if err != nil {
		return provision.Errorf(provision.Internal, "private folder for git: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, min(lookTime, or(s.Timeout, lookTime)), errSlow)
	defer cancel()
	g := &gitRun{s: s, p: p, git: git, dir: root, env: s.environment(p, root)}
	names := []string{"HEAD"}
	if s.Ref != "" && !commitID.MatchString(s.Ref) {
		names = []string{s.Ref, "refs/" + s.Ref, "refs/heads/" + s.Ref, "refs/tags/" + s.Ref}
	}
	out, err := g.do(ctx, append([]string{"ls-remote", "--quiet", "--end-of-options", s.URL}, names...)...)
	if err != nil || s.Ref == "" || commitID.MatchString(s.Ref) {
		return err
	}
	for line := range strings.Lines(out) { // "x/main" is listed for main, too
		if _, name, _ := strings.Cut(strings.TrimSpace(line), "\t"); slices.Contains(names, name) {
			return nil
		}
	}
	return &provision.Error{Class: provision.NotFound, Text: fmt.Sprintf("program %s: there is no branch or tag %s", s.name(), s.Ref), Next: "check pulumi_ref"}
}
