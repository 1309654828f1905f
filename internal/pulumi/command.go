package pulumi

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/auto"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A command runs pulumi for the Automation API: with an environment that holds only what
// Pulumi needs, in a process group of its own, with bounded output, and not at all where
// the answer is known or nobody wants it.
type command struct {
	p          *Program
	path       string
	version    semver.Version
	home       string // PULUMI_HOME
	root       string
	lock       *os.File // inherited by every child; see privateDir
	env        []string
	marker     string // in the environment of everything that is started
	backendURL string

	extra []string        // environment of the next commands
	heard <-chan struct{} // closed when all events of a preview have arrived
	last  output          // of the process that ended last
}

var _ auto.PulumiCommand = (*command)(nil)

// command prepares the pulumi command, with its private folders under root.
func (p *Program) command(ctx context.Context, root string, lock *os.File) (*command, error) {
	c := &command{p: p, root: root, lock: lock, path: p.Command, home: filepath.Join(root, "home", ".pulumi")}
	if c.path == "" {
		var err error
		if c.path, err = lookPath("pulumi", p.Path); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{c.home, filepath.Join(root, "tmp")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, provision.Errorf(provision.Internal, "private folder for pulumi: %w", err)
		}
	}
	if p.Plugins != "" {
		if err := os.Symlink(p.Plugins, filepath.Join(c.home, "plugins")); err != nil {
			return nil, provision.Errorf(provision.Internal, "private folder for pulumi: %w", err)
		}
	}
	c.marker = markerName + "=" + filepath.Base(root)
	c.env = p.environment(root, c.home, c.marker)
	c.backend(p.BackendURL, p.Passphrase)
	return c, c.learnVersion(ctx)
}

// oldest is the oldest pulumi that streams its events to us.
var oldest = semver.MustParse("3.206.0")

func (c *command) learnVersion(ctx context.Context) error {
	text := c.p.Version
	if text == "" {
		out, err := c.exec(ctx, c.root, nil, []string{"version"})
		if err != nil {
			return provision.Errorf(provision.Internal, "pulumi version: %w", err)
		}
		text = strings.TrimSpace(out.stdout)
	}
	v, err := semver.ParseTolerant(text)
	if err != nil {
		return provision.Errorf(provision.Invalid, "%s does not say which version it is: %.40q", c.path, text)
	}
	if v.LT(oldest) {
		return provision.Errorf(provision.Invalid, "pulumi %s is too old: at least %s is needed", v, oldest)
	}
	c.version = v
	return nil
}

// Version is part of [auto.PulumiCommand].
func (c *command) Version() semver.Version { return c.version }

// Run is part of [auto.PulumiCommand].
func (c *command) Run(ctx context.Context, dir string, stdin io.Reader, _, _ []io.Writer, more []string,
	args ...string,
) (string, string, int, error) {
	if answer, known := knownAnswer(args); known {
		return answer, "", 0, nil
	}
	args = append([]string{"--non-interactive"}, args...)
	more = slices.DeleteFunc(slices.Clone(more), func(v string) bool {
		return !strings.HasPrefix(v, "PULUMI_DEBUG_") // which makes --event-log known
	})
	out, err := c.exec(ctx, dir, append(more, c.extra...), args)
	if err == nil && slices.Contains(args, "preview") {
		err = c.waitForEvents()
	}
	return out.stdout, out.stderr, out.code, err
}

// knownAnswer answers what the Automation API asks without need: a stack is named in
// every later command, so need not be selected; the outputs of an update are in its
// events; its history nobody reads.
func knownAnswer(args []string) (string, bool) {
	switch {
	case len(args) < 2 || args[0] != "stack":
	case args[1] == "select":
		return "", true
	case args[1] == "output":
		return "{}", true
	case args[1] == "history":
		return "[]", true
	}
	return "", false
}

// waitForEvents makes sure that the Automation API, which waits for ever for the end of
// a preview's events, will see it.
func (c *command) waitForEvents() error {
	t := time.NewTimer(5 * time.Second)
	defer t.Stop()
	select {
	case <-c.heard:
		return nil
	case <-t.C:
		return errors.New("pulumi ended well, but told nothing about what it did")
	}
}

// backend makes the following commands work on another backend.
func (c *command) backend(url, passphrase string) {
	c.backendURL = url
	c.env = slices.DeleteFunc(c.env, func(v string) bool {
		return strings.HasPrefix(v, "PULUMI_BACKEND_URL=") || strings.HasPrefix(v, "PULUMI_CONFIG_PASSPHRASE=")
	})
	if url != "" {
		c.env = append(c.env, "PULUMI_BACKEND_URL="+url)
	}
	// Without one, Pulumi would ask for it where a passphrase protects the secrets.
	c.env = append(c.env, "PULUMI_CONFIG_PASSPHRASE="+passphrase)
}

// light is for a program that nothing has to be compiled for: pulumi and its plugins mostly
// wait for Hetzner, and are gone before their garbage matters. On one processor, and
// without collecting any below 1 GiB, they cost a tenth less and take no longer.
func (c *command) light() {
	c.env = append(c.env, "GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=1GiB")
}

// markerName is the variable by which a process that outlived its parent is found.
const markerName = "PREGO_PULUMI_RUN"

// passedOn are the variables of Program.Env that every child may see.
var passedOn = []string{"LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}

// passedToPulumi are those that pulumi and its plugins may see as well, by what the
// backend's URL begins with. What git may see as well is in source.go.
var passedToPulumi = map[string][]string{
	"s3://":     {"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"},
	"gs://":     {"GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CREDENTIALS"},
	"azblob://": {"AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"},
}

// childEnv returns what any child sees, and those of Program.Env that more names. It is an
// allowlist: the program that is run is somebody else's code, and the runner's environment
// is full of tokens.
func (p *Program) childEnv(root string, more ...string) []string {
	env := []string{"PATH=" + p.Path, "HOME=" + filepath.Join(root, "home"), "TMPDIR=" + filepath.Join(root, "tmp")}
	for _, v := range p.Env {
		if name, _, _ := strings.Cut(v, "="); slices.Contains(passedOn, name) || slices.Contains(more, name) {
			env = append(env, v)
		}
	}
	return env
}

// environment returns what pulumi and its plugins see.
func (p *Program) environment(root, home, marker string) []string {
	var more []string
	for backend, names := range passedToPulumi {
		if strings.HasPrefix(p.BackendURL, backend) {
			more = names
		}
	}
	env := append(p.childEnv(root, more...),
		"PULUMI_HOME="+home,
		"PULUMI_AUTOMATION_API=true",
		"GOGC=400", // a pulumi is gone before its garbage matters: a sixth less to compute
		"PULUMI_SKIP_UPDATE_CHECK=true",
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true", // a download nobody pinned
		marker,
	)
	for name, value := range map[string]string{
		"PULUMI_ACCESS_TOKEN": p.AccessToken,
		"HCLOUD_TOKEN":        p.HCloudToken,
		"HCLOUD_ENDPOINT":     p.HCloudEndpoint,
	} {
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// lookPath finds an executable in path, which is spelled as PATH is.
func lookPath(name, path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && filepath.IsAbs(file) {
			return file, nil
		}
	}
	return "", provision.Errorf(provision.Invalid, "there is no %s command on the PATH", name)
}
