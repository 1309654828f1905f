package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
)

// A process is one that is measured. Its owner stops it.
type process struct {
	cmd  *exec.Cmd
	addr string // where it listens
	read sync.WaitGroup
}

// startProcess starts cmd and reads what it writes to a pipe until listening finds the
// address in a line.
func startProcess(cmd *exec.Cmd, pipe io.Reader, listening func(line string) (addr string)) (*process, error) {
	p := &process{cmd: cmd}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(pipe)
	said := ""
	for p.addr == "" {
		line, err := lines.ReadString('\n')
		said += line
		if err != nil {
			p.stop()
			return nil, fmt.Errorf("%s did not listen: %w\n%s", cmd.Path, err, said)
		}
		p.addr = listening(line)
	}
	p.read.Go(func() { _, _ = io.Copy(io.Discard, lines) }) // until it has ended
	return p, nil
}

// stop ends the process. What it has left undone is of no interest.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	p.read.Wait()
	_ = p.cmd.Wait()
}

// startControlPlane starts our side on a file. Metrics do not get too old while it runs.
func startControlPlane(ctx context.Context, program, file string) (*process, error) {
	cmd := exec.CommandContext(ctx, program, "serve", "--addr", "127.0.0.1:0")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "DATABASE_URL=sqlite://" + file, "INTERNAL_API_KEY=" + benchKey, "PLACEMENT_METRICS_MAX_AGE=24h"}
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	return startProcess(cmd, pipe, func(line string) string {
		var l struct{ Msg, Addr string }
		if json.Unmarshal([]byte(line), &l) != nil || l.Msg != "listening" {
			return ""
		}
		return l.Addr
	})
}

// used returns the processor time of a process and its children so far; 0 where there is no
// /proc.
func used(pid int) time.Duration {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return 0
	}
	// pid (name) state ...: the name may hold anything. Times are in ticks of 10 ms.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	sum := time.Duration(0)
	for _, field := range fields[11:13] {
		n, _ := strconv.ParseInt(field, 10, 64)
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	children, _ := os.ReadFile(fmt.Sprintf("%stask/%d/children", dir, pid))
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil && pid != os.Getpid() {
			sum += used(n)
		}
	}
	return sum
}

// A benchNode is a node as both sides get it.
type benchNode struct {
	ID        string           `json:"node_id"`
	Region    placement.Region `json:"region"`
	MemoryPct float64          `json:"memory_pct"`
	Tenants   int              `json:"tenant_count"`
}

// benchNodes returns nodes in three regions with every load: about one in three is too full.
func benchNodes(n int) []benchNode {
	list := make([]benchNode, n)
	for i := range list {
		list[i] = benchNode{fmt.Sprintf("node-%05d", i), placement.Regions()[i%3], float64(i*37%1000) / 10, i * 13 % 45}
	}
	return list
}

// register tells our side of the nodes, over its own routes.
func register(ctx context.Context, addr string, nodes []benchNode) error {
	steps := []struct {
		path   string
		status int
		body   func(n benchNode) string
	}{
		{"/internal/nodes", http.StatusCreated, func(n benchNode) string {
			return fmt.Sprintf(`{"node_id":%q,"region":%q,"host":"192.0.2.1"}`, n.ID, n.Region)
		}},
		{"/internal/server-metrics", http.StatusOK, func(n benchNode) string {
			return fmt.Sprintf(`{"node_id":%q,"memory_pct":%g,"tenant_count":%d}`, n.ID, n.MemoryPct, n.Tenants)
		}},
	}
	for _, s := range steps {
		l := load{addr: addr, conns: 64, status: s.status, count: int64(len(nodes)), request: func(n int64) []byte {
			return post(s.path, s.body(nodes[n-1]), "")
		}}
		if _, err := l.run(ctx, 0); err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
	}
	return nil
}

// choose returns the node that a side selects.
func choose(ctx context.Context, addr, body string) (nodeID string, candidates int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/internal/placement/compute", strings.NewReader(body))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Authorization", "Bearer "+benchKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", 0, err
	}
	var a struct {
		Selected   string            `json:"selected_node_id"`
		Candidates []json.RawMessage `json:"candidates"`
	}
	if err := json.Unmarshal(data, &a); err != nil || resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("%s: %.300s", resp.Status, data)
	}
	return a.Selected, len(a.Candidates), nil
}

// sameChoice checks that all sides decide alike, before they are compared.
func sameChoice(ctx context.Context, sides []*side, body string) error {
	want := ""
	for i, s := range sides {
		got, candidates, err := choose(ctx, s.process.addr, body)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if i == 0 {
			want = got
		}
		if got != want || got == "" || candidates != 20 {
			return fmt.Errorf("%s selects %q of %d candidates, and %s %q", s.name, got, candidates, sides[0].name, want)
		}
	}
	return nil
}
