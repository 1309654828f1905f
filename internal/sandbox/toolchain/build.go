package toolchain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// build returns the path of the tool in the cache, having built it if it was not there.
func build(ctx context.Context, o Options, t Tool, p program) (string, error) {
	key, err := p.key()
	if err != nil {
		return "", provision.Errorf(provision.Invalid, "module of %s: %w", t, err)
	}
	dir := filepath.Join(o.CacheDir, string(t)+"-"+key)
	path := filepath.Join(dir, string(t))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	unlock, err := lock(ctx, dir+".lock", func() {
		o.Progress(fmt.Sprintf("another process is building %s: waiting for it", t))
	})
	if err != nil {
		return "", fmt.Errorf("build %s: %w", t, err)
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil { // built while we waited
		return path, nil
	}
	// The half that a killed process left is overwritten: nobody but us is here now.
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", provision.Errorf(provision.Internal, "build %s: %w", t, err)
	}
	defer os.RemoveAll(partial)
	o.Progress(fmt.Sprintf("building %s %s from its module, once: about %s on two cores", t, p.version, p.takes))
	start := time.Now()
	if err := goBuild(ctx, o, t, p, filepath.Join(partial, string(t))); err != nil {
		return "", err
	}
	if err := os.Rename(partial, dir); err != nil {
		return "", provision.Errorf(provision.Internal, "build %s: %w", t, err)
	}
	o.Progress(fmt.Sprintf("built %s in %s", t, time.Since(start).Round(time.Second)))
	return path, nil
}

// goBuild builds p into the file out.
func goBuild(ctx context.Context, o Options, t Tool, p program, out string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	temp := filepath.Dir(out)
	if err := os.MkdirAll(temp, 0o755); err != nil {
		return provision.Errorf(provision.Internal, "build %s: %w", t, err)
	}
	cmd := Go(ctx, p.module, temp, "build", "-v", "-buildvcs=false", "-o", out, "-ldflags", p.ldflags, p.pkg)
	var w watcher
	cmd.Stderr = &w
	if err := cmd.Start(); err != nil {
		return startFailure(t, err)
	}
	done := make(chan struct{})
	go w.report(o.Progress, t, done)
	err := Wait(cmd)
	done <- struct{}{} // report has ended when it is taken: Progress is ours again
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return w.failure(t, err)
	}
	return nil
}

// Go returns the command go with these arguments, to be started in the folder dir and waited
// for by [Wait]. The compilers that it starts end with it when ctx does. What it leaves behind
// then is in the folder temp.
func Go(ctx context.Context, dir, temp string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(goEnviron(os.Environ()), "GOTMPDIR="+temp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// Wait waits for a command of [Go] that was started, and lets nothing of it go on.
func Wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	// Most often nobody is left; who is takes a moment to be gone.
	for end := time.Now().Add(300 * time.Millisecond); syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) == nil && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

// goEnviron is env for a build that nothing in the user's settings can bend: neither
// another module file, nor a workspace, nor another platform.
func goEnviron(env []string) []string {
	var clean []string
	for _, v := range env {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "GOFLAGS", "GOWORK", "GOOS", "GOARCH", "GO111MODULE":
		default:
			clean = append(clean, v)
		}
	}
	return append(clean, "GOFLAGS=-mod=readonly", "GOWORK=off", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
}

func startFailure(t Tool, err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return &provision.Error{
			Class: provision.Invalid,
			Text:  fmt.Sprintf("build %s: there is no go command on PATH", t),
			Next:  fmt.Sprintf("install Go, or put %s on PATH", t),
			Err:   err,
		}
	}
	return provision.Errorf(provision.Internal, "build %s: %w", t, err)
}

// A watcher follows what go says while it builds.
type watcher struct {
	packages   atomic.Int64 // compiled so far
	downloaded atomic.Int64 // modules, so far
	rest       []byte       // a line that has not ended yet
	wrong      string       // the first line that says what is wrong
	offline    bool         // some line says that the network failed
}

// Write reads the lines of go build -v: a package's path as it is compiled, "go: downloading",
// and whatever goes wrong.
func (w *watcher) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			w.rest = w.rest[:min(len(w.rest), 1<<16)] // no line of interest is longer
			return len(p), nil
		}
		w.line(strings.TrimSpace(string(w.rest[:i])))
		w.rest = w.rest[i+1:]
	}
}

func (w *watcher) line(line string) {
	switch {
	case line == "" || strings.HasPrefix(line, "#"):
	case strings.HasPrefix(line, "go: downloading "):
		w.downloaded.Add(1)
	case !strings.ContainsAny(line, " \t"):
		w.packages.Add(1)
	default:
		if w.wrong == "" {
			w.wrong = line[:min(len(line), 300)]
		}
		w.offline = w.offline || offline(line)
	}
}

// offline reports whether a line of go's says that a module could not be fetched.
func offline(line string) bool {
	for _, sign := range []string{
		"dial tcp", "no such host", "connection refused", "i/o timeout", "TLS handshake", "network is unreachable",
		"module lookup disabled by GOPROXY=off", "proxyconnect", "502 Bad Gateway", "503 Service Unavailable",
	} {
		if strings.Contains(line, sign) {
			return true
		}
	}
	return false
}

// report says every ten seconds how far it is, until done.
func (w *watcher) report(progress func(string), t Tool, done <-chan struct{}) {
	start := time.Now()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		did := "downloading modules"
		if n := w.packages.Load(); n > 0 {
			did = fmt.Sprintf("%d packages compiled", n)
		} else if n := w.downloaded.Load(); n > 0 {
			did = fmt.Sprintf("%d modules downloaded", n)
		}
		progress(fmt.Sprintf("building %s: %s, %s", t, time.Since(start).Round(time.Second), did))
	}
}

// failure is the error of a build that failed.
func (w *watcher) failure(t Tool, err error) error {
	e := provision.Errorf(provision.Internal, "build %s: go build: %w: %s", t, err, w.wrong)
	if w.offline {
		e.Class = provision.Busy
		e.Next = fmt.Sprintf("see that GOPROXY can be reached and try again, or put %s on PATH", t)
		if t == Pulumi {
			e.Next += " (" + PulumiVersion + " or later of v3)"
		}
	}
	return e
}
