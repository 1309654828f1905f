package pulumi_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdk "github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// The lines of pulumi's two streams are whole in the log, however they are written.
func TestLogLines(t *testing.T) {
	t.Parallel()
	p, dir := stub(t, `printf one; sleep 0.3; printf 'error: two\nthree' >&2; sleep 0.3; echo half; printf end; touch $dir/ran; exit 1`)
	var log bytes.Buffer
	p.Log = &log
	_, err := p.Up(t.Context(), dedicated("job-1", "acme"), "dedicated-acme")
	if err == nil {
		t.Error("Up: no error")
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("error: two\nonehalf\nend\nthree\n", log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// Outputs with their secrets do not go to the log, also where somebody asks for all of it.
func TestLogHasNoSecretOutputs(t *testing.T) {
	t.Parallel()
	p := newWorld(t).program(t)
	p.Inline = func(ctx *sdk.Context) error {
		ctx.Export("server_ip", sdk.ToSecret(sdk.String("203.0.113.77")))
		return nil
	}
	var log bytes.Buffer
	p.Log = &log
	up(t, p, dedicated("job-1", "acme"))
	if strings.Contains(log.String(), "203.0.113.77") || log.Len() == 0 {
		t.Errorf("the log has the secret, or nothing:\n%s", &log)
	}
}
