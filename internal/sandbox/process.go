package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// A process is one of our programs, running. It leads a process group of its own, so that
// a Ctrl-C in the terminal reaches the sandbox alone, which then stops things in order.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // why it ended; read after done

	mu   sync.Mutex
	tail []string // the last lines of its standard error, for when it fails
}

// tailLines is how much of a program's log is shown when it ends by itself.
const tailLines = 10

// startProcess starts a program. lines, if not nil, gets each line of its standard error.
func startProcess(name, path string, env []string, lines func(string), args ...string) (*process, error) {
	cmd := exec.Command(path, args...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.read(stderr, lines)
		p.err = cmd.Wait()
	}()
	return p, nil
}

func (p *process) read(r io.Reader, lines func(string)) {
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		p.mu.Lock()
		p.tail = append(p.tail, scan.Text())
		if len(p.tail) > tailLines {
			p.tail = p.tail[1:]
		}
		p.mu.Unlock()
		if lines != nil {
			lines(scan.Text())
		}
	}
	_, _ = io.Copy(io.Discard, r) // a line too long for the scanner must not block the program
}

// stop asks the process to end, and kills its group if it does not.
func (p *process) stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(os.Interrupt) // fails only when it has ended
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// failure describes a process that ended by itself.
func (p *process) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("%s ended: %v", p.name, p.err)
	for _, line := range p.tail {
		text += "\n  " + line
	}
	return errors.New(text)
}

// startControlPlane starts the control plane on a free port and waits until it says
// which.
func startControlPlane(ctx context.Context, path string, env []string) (*process, string, error) {
	addr := make(chan string, 1)
	p, err := startProcess("controlplane", path, env, func(line string) {
		var entry struct{ Msg, Addr string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
			select {
			case addr <- entry.Addr:
			default:
			}
		}
	}, "serve", "--addr", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	select {
	case a := <-addr:
		return p, "http://" + a, nil
	case <-p.done:
		return nil, "", p.failure()
	case <-ctx.Done():
		p.stop(0)
		return nil, "", ctx.Err()
	}
}
