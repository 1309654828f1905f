package main

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// The test's own binary is the command when it is told so: nothing has to be built.
	if os.Getenv("SANDBOX_TEST_MAIN") != "" {
		main()
	}
	testscript.Main(m, map[string]func(){"sandbox": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "../../testdata/sandbox", RequireExplicitExec: true})
}

// TestInterrupt stops a demo with Ctrl-C at several moments, and looks for what is left:
// no process, and no file outside the cache.
func TestInterrupt(t *testing.T) {
	for _, moment := range []string{"building our own commands", "pulumi_up          started", "birch-2"} {
		t.Run(strings.Fields(moment)[0], func(t *testing.T) {
			temp := t.TempDir()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "demo")
			cmd.Env = append(os.Environ(), "SANDBOX_TEST_MAIN=1", "TMPDIR="+temp, "GORACE=atexit_sleep_ms=0")
			if moment == "building our own commands" { // with all its compilers
				cmd.Env = append(cmd.Env, "GOCACHE="+t.TempDir())
			}
			out := &watcher{want: moment, seen: make(chan struct{})}
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case <-out.seen:
			case err := <-ended:
				t.Fatalf("the demo ended before it said %q: %v\n%s", moment, err, out.all.String())
			}
			if moment == "building our own commands" {
				for tick := time.Tick(time.Millisecond); ; <-tick {
					if list, _ := filepath.Glob(filepath.Join(temp, "*", "go-build*", "b*")); len(list) > 20 {
						break
					}
				}
			}
			asked := time.Now()
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			err := <-ended
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 130 {
				t.Errorf("after Ctrl-C: %v, want exit status 130\n%s", err, out.all.String())
			}
			t.Logf("stopped after %s", time.Since(asked).Round(time.Millisecond))
			if left := processes(t, temp); len(left) > 0 {
				t.Errorf("processes left: %q", left)
			}
			_ = filepath.WalkDir(temp, func(name string, d fs.DirEntry, _ error) error {
				if name != temp {
					t.Errorf("left behind: %s", name)
				}
				return nil
			})
		})
	}
}

// A watcher collects output, and tells when it holds a text for the first time.
type watcher struct {
	want string
	seen chan struct{}
	all  bytes.Buffer
	done bool
}

func (w *watcher) Write(p []byte) (int, error) {
	w.all.Write(p)
	if !w.done && bytes.Contains(w.all.Bytes(), []byte(w.want)) {
		w.done = true
		close(w.seen)
	}
	return len(p), nil
}

// processes returns the processes that have dir in their environment, arguments or
// working directory, but for zombies, which have ended.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(names) == 0 {
		t.Skip("no /proc here to look for processes in")
	}
	for _, name := range names {
		if name == "/proc/self" || name == "/proc/"+strconv.Itoa(os.Getpid()) {
			continue
		}
		environ, _ := os.ReadFile(name + "/environ")
		cmdline, _ := os.ReadFile(name + "/cmdline")
		cwd, _ := os.Readlink(name + "/cwd")
		if strings.Contains(string(environ)+string(cmdline)+cwd, dir) && !zombie(name) {
			list = append(list, strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return list
}

func zombie(proc string) bool {
	f, err := os.Open(proc + "/status")
	if err != nil {
		return true // it has ended
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		if state, ok := strings.CutPrefix(scan.Text(), "State:"); ok {
			return strings.HasPrefix(strings.TrimSpace(state), "Z")
		}
	}
	return true
}
