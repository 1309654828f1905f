package sandbox

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// A call is a request that changes something, without the numbers in its path.
type call string

var numbers = regexp.MustCompile(`/[0-9a-f]{32}|/[0-9]+`)

func callOf(r *http.Request) call {
	return call(r.Method + " " + numbers.ReplaceAllString(r.URL.Path, "/N"))
}

// A point is where a killer strikes: the nth time that a call comes, counted from 1.
type point struct {
	call  call
	nth   int
	after bool // after the call has had its effect, and without an answer; else before it
}

func (p point) String() string {
	when := map[bool]string{false: "before", true: "after"}[p.after]
	return strings.ReplaceAll(fmt.Sprintf("%s %s %d", when, p.call, p.nth), "/", "_")
}

// A killer kills the action's process, and all that it has started, at one point.
type killer struct {
	mu    sync.Mutex
	pid   int // of the action
	point point
	came  map[call]int
	calls []call // in their order
	dead  bool   // it has killed
}

func (k *killer) begin(p point) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.point, k.came, k.calls, k.dead = p, map[call]int{}, nil, false
}

// verdict says whether it has killed, and which calls came; it kills no more.
func (k *killer) verdict() (killed bool, calls []call) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.point = point{}
	return k.dead, slices.Clone(k.calls)
}

func (k *killer) started(_ int64, pid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pid = pid
}

// decide is asked about every request to Hetzner, Cloudflare and the control plane.
func (k *killer) decide(r *http.Request) standin.Action {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return standin.Action{}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead && !alive(k.pid) {
		// It left the dead process before it was killed: as if it never had.
		return standin.Action{Status: http.StatusServiceUnavailable, Lose: true}
	}
	c := callOf(r)
	if k.came == nil {
		k.came = map[call]int{}
	}
	k.came[c]++
	k.calls = append(k.calls, c)
	if c != k.point.call || k.came[c] != k.point.nth {
		return standin.Action{}
	}
	k.dead = true
	pid := k.pid // of now: the steps of a cancelled job start another
	kill := func() { killTree(pid) }
	if k.point.after {
		return standin.Action{After: kill, Lose: true}
	}
	return standin.Action{Before: kill, Status: http.StatusServiceUnavailable, Lose: true}
}

// killTree kills a process and all its descendants, as the end of a container does.
func killTree(pid int) {
	for _, p := range descendants(pid) {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
}

// descendants returns pid and every process below it.
func descendants(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid: the name may hold anything.
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		parent, _ := strconv.Atoi(fields[1])
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		children[parent] = append(children[parent], child)
	}
	list := []int{pid}
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i]]...)
	}
	return list
}

func alive(pid int) bool { return pid != 0 && syscall.Kill(pid, 0) == nil }
