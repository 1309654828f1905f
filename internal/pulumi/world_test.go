package pulumi_test

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
	"github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
	"github.com/pregoi/provision-tenant/internal/sandbox/toolchain"
	"github.com/pregoi/provision-tenant/internal/stackprogram"
)

const token = "hcloud-token-of-the-tests"

// A world is a Hetzner project and a backend with the real engine before them.
type world struct {
	*hetzner.Server
	url     string
	backend string
	client  *hcloud.Client

	mu       sync.Mutex
	progress []pulumi.Progress
}

func newWorld(t *testing.T) *world {
	return newWorldOf(t, hetzner.Options{Tokens: map[string]hetzner.Token{token: {Project: "p"}}})
}

func newWorldOf(t *testing.T, o hetzner.Options) *world {
	t.Helper()
	w := &world{Server: hetzner.New(o), backend: t.TempDir()}
	server := httptest.NewServer(w.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL + "/v1"
	w.client = hcloud.NewClient(hcloud.WithToken(token), hcloud.WithEndpoint(w.url))
	return w
}

// tools are built once for all tests; see toolchain.Ensure.
var tools = sync.OnceValues(func() (toolchain.Tools, error) {
	return toolchain.Ensure(context.Background(), toolchain.Options{})
})

// program returns the built-in program, working in this world.
func (w *world) program(t *testing.T) *pulumi.Program {
	t.Helper()
	tools, err := tools()
	if err != nil {
		t.Fatal(err)
	}
	return &pulumi.Program{
		Inline:         stackprogram.Program(stackprogram.Settings{}),
		Command:        tools.Pulumi,
		Version:        tools.PulumiVersion,
		Path:           tools.Dir + string(filepath.ListSeparator) + os.Getenv("PATH"),
		TempDir:        t.TempDir(),
		BackendURL:     "file://" + w.backend,
		Passphrase:     "passphrase-of-the-tests",
		HCloudToken:    token,
		HCloudEndpoint: w.url,
		Find:           w.find,
		Progress: func(p pulumi.Progress) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.progress = append(w.progress, p)
			t.Logf("%+v", p)
		},
		Log: logger{t},
	}
}

type logger struct{ t *testing.T }

func (l logger) Write(p []byte) (int, error) {
	if testing.Verbose() {
		l.t.Logf("%s", p)
	}
	return len(p), nil
}

// find looks for what an update may have made without recording it.
func (w *world) find(ctx context.Context, r pulumi.Resource) (string, bool, error) {
	name, _ := r.Inputs["name"].(string)
	var id int64
	var labels map[string]string
	switch r.Type {
	case "hcloud:index/server:Server":
		if v, _, err := w.client.Server.GetByName(ctx, name); err != nil {
			return "", false, err
		} else if v != nil {
			id, labels = v.ID, v.Labels
		}
	case "hcloud:index/firewall:Firewall":
		if v, _, err := w.client.Firewall.GetByName(ctx, name); err != nil {
			return "", false, err
		} else if v != nil {
			id, labels = v.ID, v.Labels
		}
	}
	return strconv.FormatInt(id, 10), labels["managed-by"] == "prego", nil
}

func shared(id string) provision.Job {
	return provision.Job{ID: id, TenantID: "tenant-of-" + id, Region: placement.SG, CreateNewServer: true,
		SubdomainSlug: id, CanonicalHostname: id + ".example.com"}
}

func dedicated(id, tenant string) provision.Job {
	return provision.Job{ID: id, TenantID: tenant, Region: placement.EU, CreateNewServer: true, Dedicated: true,
		SubdomainSlug: id, CanonicalHostname: id + ".example.com"}
}

func text(id int64) string { return strconv.FormatInt(id, 10) }

func up(t *testing.T, p *pulumi.Program, j provision.Job, places ...provision.Place) provision.StackResult {
	t.Helper()
	result, err := p.Up(t.Context(), j, j.StackName(), places...)
	if err != nil {
		t.Fatalf("Up(%s): %v", j.ID, err)
	}
	return result
}
