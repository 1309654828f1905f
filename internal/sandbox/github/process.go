package github

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// dirs are a run's folders, named as a container action finds them below /github.
type dirs struct{ root, home, workspace, workflow, commands, temp string }

func newDirs(parent string) (dirs, error) {
	root, err := os.MkdirTemp(parent, "run-*")
	if err != nil {
		return dirs{}, err
	}
	at := func(name string) string { return filepath.Join(root, "github", name) }
	d := dirs{root, at("home"), at("workspace"), at("workflow"), at("file_commands"), at("runner_temp")}
	for _, dir := range []string{d.home, d.workspace, d.workflow, d.commands, d.temp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return dirs{}, errors.Join(err, os.RemoveAll(root))
		}
	}
	return d, nil
}

// commandFiles are the files through which a step says what it has to say.
type commandFiles struct{ output, env, path, state, summary string }

// newCommandFiles makes the files of one step, empty.
func (d dirs) newCommandFiles() (commandFiles, error) {
	suffix := requestID()
	at := func(name string) string { return filepath.Join(d.commands, name+"_"+suffix) }
	f := commandFiles{at("set_output"), at("set_env"), at("add_path"), at("save_state"), at("step_summary")}
	for _, name := range []string{f.output, f.env, f.path, f.state, f.summary} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			return commandFiles{}, err
		}
	}
	return f, nil
}

// process starts the action with env, and nothing else in its environment, and waits for
// it. A cancelled run sends it SIGINT, then SIGTERM, then SIGKILL, as the runner does.
func (j *jobRun) process(env map[string]string, entry string) (string, error) {
	if j.s.opts.Action == "" && j.s.opts.Container == nil {
		return "failure", errors.New("the stand-in was given no program to start as the action")
	}
	out, errs := j.a.journal.writer(), j.a.journal.writer()
	cmd, remove := j.command(env, entry)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, errs, time.Second
	// Its own group: the terminal's Ctrl-C is the stand-in's business, and what the action
	// leaves behind ends with it, as a container does with its first process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return "failure", fmt.Errorf("start the action: %w", err)
	}
	pid := cmd.Process.Pid
	if j.s.opts.Started != nil {
		j.s.opts.Started(j.run.id, pid)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	cancelled, err := j.watch(pid, ended)
	_ = syscall.Kill(-pid, syscall.SIGKILL) // nobody is left in most cases
	out.flush()
	errs.flush()
	if cancelled {
		defer remove()
		return "cancelled", said("The operation was canceled.")
	}
	if code := exitCode(cmd.ProcessState); code != 0 {
		return "failure", sayf("Docker run failed with exit code %d", code)
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return "failure", err
	}
	return "success", nil
}

// watch waits for the process, and ends it when the run is cancelled or its time is up.
//
// A step that is begun after a cancellation, with always(), has all the time that it wants;
// not so one that is cancelled between its beginning and the start of its process.
func (j *jobRun) watch(pid int, ended <-chan error) (cancelled bool, err error) {
	stop := j.a.stop
	if j.sc.env.Job.Status == "cancelled" {
		stop = j.a.hard
	}
	select {
	case err := <-ended:
		return false, err
	case <-j.timer.C:
		j.a.journal.note("error", "The job has exceeded its maximum execution time.")
	case <-stop:
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, j.s.opts.InterruptWait}, {syscall.SIGTERM, j.s.opts.TerminateWait}} {
		_ = syscall.Kill(pid, step.signal) // it may have ended by itself
		t := time.NewTimer(step.wait)
		select {
		case err := <-ended:
			t.Stop()
			return true, err
		case <-j.a.hard:
			t.Stop()
		case <-t.C:
		}
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	return true, <-ended
}

// exitCode is a shell's: 128 and the signal for a process that one has ended.
func exitCode(p *os.ProcessState) int {
	if ws, ok := p.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ExitCode()
}
