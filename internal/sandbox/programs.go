package sandbox

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// programs are the commands that the sandbox runs as processes.
var programs = []string{"provision-tenant", "dispatcher", "controlplane"}

// programsDir returns where the commands of the checkout at root are built: kept from run
// to run, so that what has not changed is not linked again.
func programsDir(root string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "provision-tenant", fmt.Sprintf("programs-%x", sha256.Sum256([]byte(root)))[:21])
	return dir, os.MkdirAll(dir, 0o700)
}

// build builds the programs into dir. Go's own cache makes it quick after the first time.
func build(ctx context.Context, root, dir string) error {
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, p := range programs {
		args = append(args, "./cmd/"+p)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("go build of our own commands: %w\n%s", err, out)
	}
	return nil
}
