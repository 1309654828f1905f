package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The peer: the route as a Worker with D1, and what starts it.
var (
	//go:embed controlplane_worker.js
	workerScript string
	//go:embed controlplane_miniflare.mjs
	miniflareScript string
)

// miniflareVersion is the last that Node.js 20 runs.
const miniflareVersion = "4.20260421.0"

// A miniflare runs the Worker. It is installed in a folder of the user's cache, once.
type miniflare struct{ dir, cache string }

// newMiniflare installs it from the registry that npm is set up with.
func newMiniflare(ctx context.Context, dir string) (*miniflare, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, err
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	m := &miniflare{dir, filepath.Join(cache, "provision-tenant", "miniflare-"+miniflareVersion)}
	if _, err := os.Stat(filepath.Join(m.cache, "node_modules", "miniflare")); err != nil {
		fmt.Println("installing miniflare", miniflareVersion)
		if err := os.MkdirAll(m.cache, 0o700); err != nil {
			return nil, err
		}
		out, err := exec.CommandContext(ctx, "npm", "install", "--prefix", m.cache, "--no-audit", "--no-fund", "--no-save",
			"--ignore-scripts", "miniflare@"+miniflareVersion).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("npm install: %w\n%s", err, out)
		}
	}
	for name, text := range map[string]string{"worker.js": workerScript, "miniflare.mjs": miniflareScript} {
		if err := os.WriteFile(filepath.Join(m.cache, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// start runs the Worker on a D1 database of these nodes.
func (m *miniflare) start(ctx context.Context, nodes []benchNode) (*process, error) {
	data, err := json.Marshal(nodes)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(m.dir, "nodes.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "node", filepath.Join(m.cache, "miniflare.mjs"), file, benchKey)
	cmd.Dir = m.cache
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return startProcess(cmd, pipe, func(line string) string {
		addr, _ := strings.CutPrefix(strings.TrimSpace(line), "http://")
		return strings.TrimSuffix(addr, "/")
	})
}
