package pulumi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tailBytes is how much of a child's output is kept: its end, where the reason stands.
const tailBytes = 256 << 10

// An output is what is left of a process.
type output struct {
	stdout, stderr string // the last [tailBytes] of each
	code           int    // the exit status; -1 if a signal ended it or it did not start
	late           bool   // it took longer than it may
}

// exec runs pulumi once. When ctx is done it interrupts pulumi, which then finishes what
// it has begun at the provider, and after the grace period kills it and all it started.
//
// The child writes to files, not to pipes: so it can still finish its work and record it
// when we are killed, where a pipe would break under it. They also need no memory.
func (c *command) exec(ctx context.Context, dir string, more, args []string) (output, error) {
	ctx, cancel := context.WithTimeout(ctx, c.p.timeout())
	defer cancel()
	if err := ctx.Err(); err != nil {
		return output{code: -1}, err
	}
	stdout, err := os.CreateTemp(c.root, "stdout")
	if err != nil {
		return output{code: -1}, err
	}
	defer discard(stdout)
	stderr, err := os.CreateTemp(c.root, "stderr")
	if err != nil {
		return output{code: -1}, err
	}
	defer discard(stderr)

	cmd := exec.Command(c.path, args...)
	cmd.Dir, cmd.Env = dir, append(c.env[:len(c.env):len(c.env)], more...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr, cmd.ExtraFiles = attributes(), []*os.File{c.lock}
	stopCopy := func() {}
	if !slices.Contains(args, "--show-secrets") { // nobody has masked those yet
		stopCopy = c.p.copyLog(stdout.Name(), stderr.Name())
	}
	err = c.run(ctx, cmd)
	stopCopy()
	c.last = output{tail(stdout), tail(stderr), -1, errors.Is(err, context.DeadlineExceeded)}
	if cmd.ProcessState != nil {
		c.last.code = cmd.ProcessState.ExitCode()
	}
	return c.last, err
}

// run starts cmd and waits for it, on a thread of its own: the child is told when the
// thread that made it ends, so that must not be one that Go retires.
func (c *command) run(ctx context.Context, cmd *exec.Cmd) error {
	started, ended := make(chan error, 1), make(chan error, 1)
	l := c.openLease(cmd)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		ended <- cmd.Wait()
	}()
	err := <-started
	if err != nil {
		if l != nil {
			_, _ = os.Remove(l.Name()), l.Close()
		}
		return err
	}
	release := c.lease(cmd, l)
	defer release()
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Signal(os.Interrupt)
		t := time.NewTimer(c.p.grace())
		defer t.Stop()
		select {
		case err = <-ended:
		case <-t.C:
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			err = <-ended
		}
		if err != nil {
			err = ctx.Err()
		}
	}
	c.killFamily()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() < 0 {
		c.breakDead()
	}
	return err
}

// killFamily kills what pulumi has left: always when it was killed, and now and then a
// plugin when it was not. Plugins are in process groups of their own; they are known by
// the marker in their environment, where there is a /proc.
func (c *command) killFamily() {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(append([]byte{0}, env...), []byte("\x00"+c.marker+"\x00")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// copyLog copies what is appended to the files to the log, whole lines at a time, until it
// is stopped.
func (p *Program) copyLog(names ...string) (stop func()) {
	if p.Log == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		at := make([]int64, len(names))
		for {
			last := false
			select {
			case <-t.C:
			case <-quit:
				last = true
			}
			for i, name := range names {
				at[i] += copyLines(p.Log, name, at[i], last)
			}
			if last {
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}

// copyLines writes to w the lines that a file has from an offset on, and returns how many
// bytes they are. A line that has not ended is left for the next time, so that the lines of
// two files do not end up in one; at last it is written as it is.
func copyLines(w io.Writer, name string, from int64, last bool) (n int64) {
	f, err := os.Open(name)
	if err != nil {
		return 0
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for {
		got, _ := f.ReadAt(buf, from+n) // what cannot be read is not shown
		whole := bytes.LastIndexByte(buf[:got], '\n') + 1
		switch {
		case whole > 0:
		case got == len(buf):
			whole = got // as good as a line
		case got > 0 && last:
			_, _ = w.Write(append(buf[:got], '\n'))
			return n + int64(got)
		default:
			return n
		}
		_, _ = w.Write(buf[:whole]) // a log that cannot be written does not stop an update
		n += int64(whole)
	}
}

// tail returns the end of f, from a line's beginning if it is long.
func tail(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	from := max(0, info.Size()-tailBytes)
	b := make([]byte, info.Size()-from)
	n, _ := f.ReadAt(b, from)
	text := string(b[:n])
	if from > 0 {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}

func discard(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}
