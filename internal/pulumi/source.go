package pulumi

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Source is a git repository that holds a program in its root. Nothing in it is run or
// followed while it is fetched: no hooks, filters, submodules or links out of it.
type Source struct {
	URL string // https://, ssh://, git@host:path or file://, without a password
	// Ref is a branch, a tag or a full commit; a commit is checked against what was
	// fetched. Empty for the default branch.
	Ref     string
	Token   string        // for https; empty for a public repository
	CAFile  string        // certificates to trust for https; empty for the system's
	Timeout time.Duration // 0 is 2 minutes
	MaxSize int64         // in bytes, with git's own files; 0 is 512 MiB
}

var (
	commitID = regexp.MustCompile(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)
	refName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./+@-]{0,254}$`)
	scpURL   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[A-Za-z0-9_~/][^\s:]*$`)
)

// name is the URL without what may be secret in it.
func (s *Source) name() string {
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" && u.Scheme == "" {
		host, path, _ := strings.Cut(s.URL, "@")
		return strings.TrimSpace(host + "@" + path)
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func (s *Source) check() error {
	if s.Ref != "" && (!refName.MatchString(s.Ref) || strings.Contains(s.Ref, "..") || strings.Contains(s.Ref, "@{")) {
		return provision.Errorf(provision.Invalid, "pulumi_ref %.80q is no branch, tag or commit", s.Ref)
	}
	if scpURL.MatchString(s.URL) {
		return nil
	}
	u, err := url.Parse(s.URL)
	if err != nil || strings.ContainsAny(s.URL, " \t\r\n\x00") {
		return provision.Errorf(provision.Invalid, "pulumi_repo is not a URL")
	}
	_, password := u.User.Password()
	switch {
	case u.Scheme != "https" && u.Scheme != "ssh" && u.Scheme != "file":
		return provision.Errorf(provision.Invalid, "pulumi_repo %.80q does not begin with https://, ssh:// or file://", s.name())
	case password || u.Scheme == "https" && u.User != nil:
		return provision.Errorf(provision.Invalid, "pulumi_repo %s holds credentials: give the token by itself", s.name())
	case u.Scheme == "file" && (u.Host != "" || !filepath.IsAbs(u.Path)), u.Scheme != "file" && (u.Hostname() == "" || strings.HasPrefix(u.Host, "-")):
		return provision.Errorf(provision.Invalid, "pulumi_repo %.80q names no repository", s.name())
	}
	return nil
}

// checkout fetches the one commit that Ref names into dir, and returns it.
func (s *Source) checkout(ctx context.Context, p *Program, root, dir string) (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	git, err := lookPath("git", p.Path)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, or(s.Timeout, 2*time.Minute), errSlow)
	defer cancel()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", provision.Errorf(provision.Internal, "private folder for the program: %w", err)
	}
	g := &gitRun{s: s, p: p, git: git, dir: dir, env: s.environment(p, root)}
	if _, err := g.do(ctx, "init", "--quiet", "--template="); err != nil {
		return "", err
	}
	fetched, err := g.fetch(ctx)
	if err != nil {
		return "", err
	}
	if _, err := g.do(ctx, "checkout", "--quiet", "--detach", fetched); err != nil {
		return "", err
	}
	head, err := g.do(ctx, "rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	head = strings.TrimSpace(head)
	if commitID.MatchString(s.Ref) && head != s.Ref {
		return "", provision.Errorf(provision.Conflict, "program %s: asked for commit %s and got %s", s.name(), s.Ref, head)
	}
	if err := s.staysInside(dir); err != nil {
		return "", err
	}
	// Nobody needs the history, and Pulumi would look through it.
	return head, os.RemoveAll(filepath.Join(dir, ".git"))
}

var (
	errSlow = errors.New("it took too long")
	errBig  = errors.New("it is too big")
)

// A gitRun runs git in one folder.
type gitRun struct {
	s   *Source
	p   *Program
	git string
	dir string
	env []string
}

// fetch fetches Ref alone where the server allows it, which not all do for a commit. It
// returns the name under which it is to be had.
func (g *gitRun) fetch(ctx context.Context) (string, error) {
	ref := g.s.Ref
	if ref == "" {
		ref = "HEAD"
	}
	_, err := g.do(ctx, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--depth=1", "--end-of-options", g.s.URL, ref)
	if !commitID.MatchString(ref) || provision.ClassOf(err) != provision.NotFound {
		return "FETCH_HEAD", err
	}
	if _, err := g.do(ctx, "fetch", "--quiet", "--no-recurse-submodules", "--end-of-options", g.s.URL,
		"+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"); err != nil {
		return "", err
	}
	if _, err := g.do(ctx, "cat-file", "-e", ref+"^{commit}"); err != nil {
		return "", provision.Errorf(provision.NotFound, "program %s: no branch or tag has a commit %s", g.s.name(), ref)
	}
	return ref, nil
}

// do runs git once, and returns what it printed.
func (g *gitRun) do(ctx context.Context, args ...string) (string, error) {
	limited, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cmd := exec.CommandContext(limited, g.git, append([]string{"-C", g.dir}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = g.env, &limitedWriter{&stdout}, &limitedWriter{&stderr}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	go g.watchSize(limited, stop)
	if err := cmd.Run(); err != nil {
		return "", g.classify(limited, stderr.String())
	}
	return stdout.String(), nil
}

// watchSize stops git when the folder has grown too big.
func (g *gitRun) watchSize(ctx context.Context, stop context.CancelCauseFunc) {
	most := g.s.MaxSize
	if most <= 0 {
		most = 512 << 20
	}
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		var size int64
		_ = filepath.WalkDir(g.dir, func(_ string, d fs.DirEntry, err error) error {
			if err == nil {
				if info, err := d.Info(); err == nil {
					size += info.Size()
				}
			}
			return nil
		})
		if size > most {
			stop(errBig)
			return
		}
	}
}

// environment is git's: nobody's configuration, no questions, no protocol that could run
// a command, and the token where neither ps nor a file shows it.
func (s *Source) environment(p *Program, root string) []string {
	env := append(p.childEnv(root, "SSH_AUTH_SOCK"),
		"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1",
		"GIT_ALLOW_PROTOCOL=https:ssh:file", "GIT_LFS_SKIP_SMUDGE=1", "GIT_SSH_COMMAND=ssh -oBatchMode=yes -oConnectTimeout=20",
	)
	if s.CAFile != "" {
		env = append(env, "GIT_SSL_CAINFO="+s.CAFile)
	}
	config := [][2]string{
		{"core.hooksPath", "/dev/null"}, {"core.fsmonitor", "false"}, {"submodule.recurse", "false"},
		{"protocol.allow", "never"}, {"protocol.https.allow", "always"}, {"protocol.ssh.allow", "always"}, {"protocol.file.allow", "always"},
		{"http.lowSpeedLimit", "1000"}, {"http.lowSpeedTime", "20"}, {"advice.detachedHead", "false"}, {"safe.directory", "*"},
	}
	if s.Token != "" && strings.HasPrefix(s.URL, "https://") {
		basic := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + s.Token))
		// Where a repository has moved to, the token is not sent.
		config = append(config, [2]string{"http.followRedirects", "false"}, [2]string{"http.extraHeader", "Authorization: Basic " + basic})
	}
	env = append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(config)))
	for i, c := range config {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, c[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, c[1]))
	}
	return env
}

// gitCauses are tried in order.
var gitCauses = []struct {
	text  *regexp.Regexp
	class provision.Class
	says  string
	next  string
}{
	{re(`Authentication failed|could not read (Username|Password)|returned error: 40[13]|Permission denied|HTTP Basic: Access denied|Host key verification failed`),
		provision.Denied, "the server does not let us in", "check the token or key for pulumi_repo, and that it may read the repository"},
	{re(`couldn't find remote ref|not our ref|unadvertised object|no such remote ref|Server does not allow request`),
		provision.NotFound, "there is no such branch, tag or commit", "check pulumi_ref"},
	{re(`returned error: 404|[Rr]epository .*not found|does not appear to be a git repository|does not exist`),
		provision.NotFound, "there is no such repository, or the token must not see it", "check pulumi_repo, and that its token may read it"},
	{re(`returned error: (429|5\d\d)|Could not resolve host|Failed to connect|Connection (refused|timed out|reset)|early EOF|unexpected disconnect|hung up|Operation too slow|Empty reply|[Rr]ecv failure|TLS|SSL|gnutls`),
		provision.Busy, "the server cannot be reached", ""},
	{re(`transport '.*' not allowed|returned error: 30[1278]`), provision.Invalid, "the repository leads somewhere else", "name the repository by the URL it has now"},
}

func (g *gitRun) classify(ctx context.Context, stderr string) error {
	subject := "program " + g.s.name()
	switch cause := context.Cause(ctx); {
	case cause == errBig:
		return provision.Errorf(provision.Invalid, "%s: %v", subject, cause)
	case cause == errSlow:
		return provision.Errorf(provision.Busy, "%s: %v", subject, cause)
	case ctx.Err() != nil:
		return provision.Errorf(provision.Cancelled, "%s: fetching it was stopped", subject)
	}
	for _, c := range gitCauses {
		if c.text.MatchString(stderr) {
			return &provision.Error{Class: c.class, Text: subject + ": " + c.says, Next: c.next}
		}
	}
	for line := range strings.Lines(stderr) {
		if text, ok := strings.CutPrefix(line, "fatal: "); ok {
			return provision.Errorf(provision.Internal, "%s: %s", subject, g.p.clean(text))
		}
	}
	return provision.Errorf(provision.Internal, "%s: git could not fetch it", subject)
}

// staysInside refuses a checkout with a link that leads out of it: the program would read
// there as if it were its own.
func (s *Source) staysInside(dir string) error {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return provision.Errorf(provision.Internal, "program %s: %w", s.name(), err)
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return provision.Errorf(provision.Internal, "program %s: %w", s.name(), err)
		}
		if d.Type()&fs.ModeSymlink == 0 {
			return nil
		}
		target, err := filepath.EvalSymlinks(path)
		if err != nil || target != root && !strings.HasPrefix(target, root+string(filepath.Separator)) {
			return provision.Errorf(provision.Invalid, "program %s: the link %.80q leads out of the repository, or nowhere",
				s.name(), strings.TrimPrefix(path, root))
		}
		return nil
	})
}

// A limitedWriter keeps the first 64 KiB, and takes the rest without keeping it.
type limitedWriter struct{ *bytes.Buffer }

func (w limitedWriter) Write(p []byte) (int, error) {
	w.Buffer.Write(p[:min(len(p), max(0, 64<<10-w.Len()))])
	return len(p), nil
}
