package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/server"
)

func decode[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return v
}

// serve runs c on loopback until stop, which returns what Serve does and how long it took.
func serve(t testing.TB, c server.Config) (addr string, stop func() (time.Duration, error)) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	s := newServer(t, c)
	go func() { stopped <- s.Serve(ctx, ln) }()
	return ln.Addr().String(), func() (time.Duration, error) {
		begun := time.Now()
		cancel()
		err := <-stopped
		return time.Since(begun), err
	}
}

// No more connections are served at a time than are allowed; the next is served when one ends.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.MaxConnections = 1
	addr, stop := serve(t, c)
	ask := func(conn net.Conn, wait time.Duration) error {
		if _, err := fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		must(t, conn.SetReadDeadline(time.Now().Add(wait)))
		_, err := http.ReadResponse(bufio.NewReader(conn), nil)
		return err
	}
	first, err := net.Dial("tcp", addr)
	must(t, err)
	must(t, ask(first, 5*time.Second))
	second, err := net.Dial("tcp", addr)
	must(t, err)
	if ask(second, 100*time.Millisecond) == nil {
		t.Error("a second connection is served beside the first")
	}
	must(t, first.Close())
	must(t, second.SetReadDeadline(time.Now().Add(5*time.Second)))
	if _, err := http.ReadResponse(bufio.NewReader(second), nil); err != nil {
		t.Errorf("a second connection is not served after the first: %v", err)
	}
	must(t, second.Close())
	if _, err := stop(); err != nil {
		t.Error(err)
	}
}

// A stop takes less than the seven seconds that there are, whatever hangs.
func TestServeStopsInTime(t *testing.T) {
	t.Parallel()
	c := config(t)
	begun := make(chan struct{})
	c.Trigger = func(context.Context, provision.Job, int) (string, string, error) {
		close(begun)
		select {} // it does not listen
	}
	addr, stop := serve(t, c)
	idle, err := net.Dial("tcp", addr)
	must(t, err)
	defer idle.Close()
	_, err = (&controlplane.Client{URL: "http://" + addr, Key: key}).Enqueue(t.Context(), controlplane.Order{TenantID: "acme"})
	must(t, err)
	<-begun
	took, err := stop()
	if err != nil || took > 6500*time.Millisecond {
		t.Errorf("Serve: %v after %s", err, took)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	base, cp := start(t, config(t))
	ctx := t.Context()
	must(t, cp.RegisterNode(ctx, node("n1"), provision.Job{}))
	_, err := cp.Enqueue(ctx, controlplane.Order{TenantID: "secret-tenant", Slug: "secret-slug"})
	must(t, err)
	_, _ = cp.Enqueue(ctx, controlplane.Order{TenantID: "secret-tenant"})
	do(t, "GET", base+"/nowhere/secret-path", "")
	resp, got := do(t, "GET", base+"/metrics", "", "Authorization", "")
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	for _, want := range []string{
		`controlplane_jobs{status="Pending"} 1`,
		`controlplane_nodes{status="active"} 1`,
		`controlplane_tenants{status="Pending"} 1`,
		`controlplane_store_up 1`,
		`controlplane_enqueues_total{outcome="accepted"} 1`,
		`controlplane_enqueues_total{outcome="conflict"} 1`,
		`controlplane_request_duration_seconds_count{route="POST /internal/tenants/{tenant_id}/enqueue-provision",status="202"} 1`,
		`controlplane_request_duration_seconds_count{route="none",status="404"} 1`,
		"controlplane_oldest_pending_seconds ", "go_build_info", "go_goroutines",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "secret") {
		t.Errorf("the metrics tell of a tenant:\n%s", got)
	}
}
