package pulumi

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// A backend that is a folder or a bucket locks a stack with a file that never expires:
// a pulumi that was killed leaves it for ever, and `pulumi cancel` removes every lock of
// the stack, also one that somebody has just taken. So a lock is removed by us only if
// its holder is proven dead, and only that very file.
//
// A host name and a pid are no proof: containers share host names, and each counts its
// own pids. The proof is a lease: while one of our pulumi commands runs, a file beside
// the locks says in which boot, in which pid namespace and when its process started.
// That file is locked itself, by the command and all that it starts, and the kernel gives
// that lock back when the last of them is dead: so another container of the same machine,
// which does not see the process, can tell as well.

// A lease names one process beyond doubt.
type lease struct {
	Host      string `json:"host"`
	PID       int    `json:"pid"`
	Start     string `json:"start"`         // in clock ticks since boot, from /proc/PID/stat
	Boot      string `json:"boot"`          // /proc/sys/kernel/random/boot_id
	Namespace string `json:"pid_namespace"` // /proc/self/ns/pid
	Held      bool   `json:"held"`          // the file is locked while the process lives
}

// leaseFor describes process pid; false where there is no /proc to tell.
func leaseFor(pid int) (lease, bool) {
	host, err := os.Hostname()
	start, ok := processStart(pid)
	boot, berr := os.ReadFile("/proc/sys/kernel/random/boot_id")
	ns, nerr := os.Readlink("/proc/self/ns/pid")
	if err != nil || berr != nil || nerr != nil || !ok {
		return lease{}, false
	}
	return lease{host, pid, start, strings.TrimSpace(string(boot)), ns, false}, true
}

// processStart returns when process pid started; false if there is none.
func processStart(pid int) (string, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	// The name in parentheses may hold anything, so count from its end: field 3 comes next.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return "", false
	}
	return fields[19], true // field 22
}

// dead reports whether the process of l, which was read from file, is proven to have ended.
func (l lease) dead(file string) bool {
	me, ok := leaseFor(os.Getpid())
	switch {
	case !ok || l.Boot != me.Boot:
		return false
	case l.Host == me.Host && l.Namespace == me.Namespace:
		start, alive := processStart(l.PID)
		return !alive || start != l.Start
	}
	return l.Held && !held(file)
}

// held reports whether some process holds the lock of a file.
func held(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

// leaseDir is where leases are in a backend that is the folder dir.
func leaseDir(dir string) string { return filepath.Join(dir, ".pulumi", "prego-leases") }

// folder returns the folder that is the backend; empty if it is none.
func (c *command) folder() string {
	u, err := url.Parse(c.backendURL)
	if err != nil || u.Scheme != "file" || u.Host != "" || !filepath.IsAbs(u.Path) {
		return ""
	}
	return u.Path
}

// openLease makes the file of a lease for cmd, which inherits it, if cmd may lock a stack
// in a folder. Without a lease, and then the file is nil, a lock is only waited for.
func (c *command) openLease(cmd *exec.Cmd) *os.File {
	dir := c.folder()
	locks := slices.ContainsFunc(cmd.Args, func(a string) bool { return a == "up" || a == "init" || a == "import" })
	if dir == "" || !locks || os.MkdirAll(leaseDir(dir), 0o755) != nil {
		return nil
	}
	f, err := os.CreateTemp(leaseDir(dir), "*.json")
	if err != nil {
		return nil
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	return f
}

// lease writes the lease for cmd, which has been started, into f; release takes it away.
func (c *command) lease(cmd *exec.Cmd, f *os.File) (release func()) {
	if f == nil {
		return func() {}
	}
	release = func() { _, _ = os.Remove(f.Name()), f.Close() }
	l, ok := leaseFor(cmd.Process.Pid)
	if !ok {
		return release
	}
	l.Held = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	_ = json.NewEncoder(f).Encode(l)
	return release
}

// breakDead removes the locks of processes that are proven dead, and reports whether
// there was one.
func (c *command) breakDead() bool {
	dir := c.folder()
	if dir == "" {
		return false
	}
	type holder struct {
		PID  int    `json:"pid"`
		Host string `json:"hostname"`
	}
	leases := map[holder][]string{} // files
	living := map[holder]bool{}
	files, _ := filepath.Glob(filepath.Join(leaseDir(dir), "*.json"))
	for _, file := range files {
		var l lease
		if !readJSON(file, &l) {
			continue
		}
		h := holder{l.PID, l.Host}
		leases[h] = append(leases[h], file)
		living[h] = living[h] || !l.dead(file)
	}
	removed := false
	_ = filepath.WalkDir(filepath.Join(dir, ".pulumi", "locks"), func(file string, d fs.DirEntry, err error) error {
		var h holder
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".json") || !readJSON(file, &h) {
			return nil
		}
		if len(leases[h]) > 0 && !living[h] && os.Remove(file) == nil {
			_ = os.Remove(file + ".attrs")
			removed = true
		}
		return nil
	})
	for h, files := range leases {
		for _, file := range files {
			if !living[h] {
				_ = os.Remove(file)
			}
		}
	}
	return removed
}

// mend removes from a folder the attributes of files that a killed pulumi has left empty,
// which makes it read nothing any more; it reports whether there were any. An attribute
// file is made empty first and filled then, so one that is being written may go too: who
// writes it does not mind, and without it the file beside it is read all the same.
func (c *command) mend() bool {
	mended := false
	if dir := c.folder(); dir != "" {
		_ = filepath.WalkDir(filepath.Join(dir, ".pulumi"), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".attrs") {
				return nil
			}
			if info, err := d.Info(); err == nil && info.Size() == 0 && os.Remove(file) == nil {
				mended = true
			}
			return nil
		})
	}
	return mended
}

func readJSON(file string, v any) bool {
	data, err := os.ReadFile(file)
	return err == nil && json.Unmarshal(data, v) == nil
}

func (s *session) breakDead() bool { return s.cmd.breakDead() }

var (
	createdBy = regexp.MustCompile(`created by (\S+@\S+ \(pid \d+\) at \S+)`)
	lockedAt  = regexp.MustCompile(`(?m)^\s*(file://\S+): created by`)
)

// lockHolder reads from what pulumi said who holds the lock, and where its file is.
func lockHolder(text string) (holder, file string) {
	if m := createdBy.FindStringSubmatch(text); m != nil {
		holder = m[1]
	}
	if m := lockedAt.FindStringSubmatch(text); m != nil {
		if u, err := url.Parse(m[1]); err == nil {
			file = u.Path
		}
	}
	return holder, file
}
