package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is the tests; called by the name of pulumi, it is one that obeys the file
// "conduct" beside it.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "pulumi" {
		os.Exit(stub(filepath.Dir(os.Args[0])))
	}
	os.Exit(m.Run())
}

// Conducts of the stub.
const (
	obeys   = "obeys"   // waits, and ends when it is interrupted
	ignores = "ignores" // waits, and neither it nor its child obeys a signal
	prints  = "prints " // prints as many MB as the number says, and fails
	forges  = "forges"  // writes to every file that the runner reads, and fails
)

// interruptedFile is where the stub leaves when it was first interrupted, in nanoseconds.
const interruptedFile = "interrupted"

func stub(dir string) int {
	conduct, err := os.ReadFile(filepath.Join(dir, "conduct"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	if number, ok := strings.CutPrefix(string(conduct), prints); ok {
		megabytes, _ := strconv.Atoi(number)
		for _, f := range []*os.File{os.Stdout, os.Stderr} {
			w := bufio.NewWriterSize(f, 1<<20)
			line := " ::set-env name=A::b ##[error]" + strings.Repeat("x", 170) + "\r\n"
			for range megabytes << 20 / 2 / len(line) {
				_, _ = w.WriteString(line)
			}
			_ = w.Flush()
		}
		fmt.Fprintln(os.Stderr, "error: at last")
		return 1
	}
	if string(conduct) == forges {
		files, _ := filepath.Glob(filepath.Join(dir, "..", "*", "GITHUB_*"))
		for _, file := range files {
			_ = os.WriteFile(file, []byte("LD_PRELOAD=/tmp/evil.so\nhost=evil\n"), 0o644)
		}
		fmt.Fprintln(os.Stderr, "error: forged", len(files))
		return 1
	}
	c := make(chan os.Signal, 8)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	if string(conduct) == ignores {
		child := exec.Command("sh", "-c", "trap '' INT TERM; sleep 600; sleep 600")
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as Pulumi starts its plugins
		if err := child.Start(); err != nil {
			return 1
		}
	}
	_ = os.WriteFile(filepath.Join(dir, "waits"), nil, 0o600)
	for range c {
		_ = os.WriteFile(filepath.Join(dir, interruptedFile), []byte(strconv.FormatInt(time.Now().UnixNano(), 10)), 0o600)
		if string(conduct) == obeys {
			fmt.Fprintln(os.Stderr, "error: update canceled")
			return 1
		}
	}
	return 0
}

// stubPulumi makes a folder with the stub in it, and a PATH that begins with it.
func (th *theatre) stubPulumi(t *testing.T, conduct string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(dir, "pulumi"))
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "conduct"), []byte(conduct), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, dir + string(filepath.ListSeparator) + th.path
}
