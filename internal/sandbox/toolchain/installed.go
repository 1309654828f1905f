package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// installed returns the tool that is first in the path, and its version where that
// matters; empty if there is none, or it does not suit.
func installed(ctx context.Context, o Options, t Tool) (path, version string) {
	for _, dir := range filepath.SplitList(o.Path) {
		path := filepath.Join(dir, string(t))
		info, err := os.Stat(path)
		if err != nil || !filepath.IsAbs(path) || info.IsDir() || info.Mode()&0o111 == 0 || o.ours(path) {
			continue
		}
		if t != Pulumi {
			return path, ""
		}
		if version := pulumiVersion(ctx, o.CacheDir, path, info); suits(version) {
			return path, version
		} else if version != "" {
			o.Progress(fmt.Sprintf("pulumi %s in %s is not used: %s or later of v3 is needed", version, dir, PulumiVersion))
		}
		return "", ""
	}
	return "", ""
}

// ours reports whether path leads into the cache, as it does where PATH begins with the
// Dir of an earlier Ensure. What is there may be of another key.
func (o Options) ours(path string) bool {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	cache, err := filepath.EvalSymlinks(o.CacheDir)
	if err != nil {
		return false
	}
	return strings.HasPrefix(target, cache+string(filepath.Separator))
}

// pulumiVersion asks pulumi for its version, such as "v3.253.0", and remembers the answer
// in the cache until the file changes: asking takes half a second. It is empty if pulumi
// does not say.
func pulumiVersion(ctx context.Context, cache, path string, info os.FileInfo) string {
	sum := sha256.Sum256(fmt.Append(nil, path, info.Size(), info.ModTime().UnixNano()))
	memory := filepath.Join(cache, "version-"+hex.EncodeToString(sum[:8]))
	if data, err := os.ReadFile(memory); err == nil {
		return string(data)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Env = append(os.Environ(), "PULUMI_SKIP_UPDATE_CHECK=1")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	version, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(version) > 100 {
		return ""
	}
	if err := os.WriteFile(memory, []byte(version), 0o644); err != nil {
		return version // asked again next time
	}
	return version
}

// suits reports whether a version of pulumi is as good as [PulumiVersion]: the same minor
// version, or a later one of the same major.
func suits(version string) bool {
	have, ok := minor(version)
	want, _ := minor(PulumiVersion)
	return ok && have[0] == want[0] && have[1] >= want[1]
}

// minor returns the first two numbers of a version such as "v3.253.0-beta.1".
func minor(version string) ([2]int, bool) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) != 3 {
		return [2]int{}, false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return [2]int{a, b}, errA == nil && errB == nil
}
