package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pregoi/provision-tenant/internal/sandbox/toolchain"
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
// What it leaves behind when ctx ends is in the folder temp.
func build(ctx context.Context, root, temp, dir string) error {
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, p := range programs {
		args = append(args, "./cmd/"+p)
	}
	cmd := toolchain.Go(ctx, root, temp, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Start()
	if err == nil {
		err = toolchain.Wait(cmd)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("go build of our own commands: %w\n%s", err, out.Bytes())
	}
	return nil
}
