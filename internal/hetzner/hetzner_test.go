package hetzner_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/hetzner"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	vendor "github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// A world is Hetzner with one project, the edge to it, and somebody else's client.
type world struct {
	t *testing.T
	*vendor.Server
	project *hetzner.Project
	other   *hcloud.Client
}

func newWorld(t *testing.T, o vendor.Options, wrap func(http.Handler) http.Handler) *world {
	t.Helper()
	o.Tokens = map[string]vendor.Token{"token": {Project: "p"}, "look": {Project: "p", ReadOnly: true}}
	s := vendor.New(o)
	h := s.Handler()
	if wrap != nil {
		h = wrap(h)
	}
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	return &world{
		t: t, Server: s,
		project: &hetzner.Project{Token: "token", Endpoint: web.URL + "/v1", Wait: 2 * time.Second, Poll: 2 * time.Millisecond, RetryPause: time.Millisecond},
		other:   hcloud.NewClient(hcloud.WithToken("token"), hcloud.WithEndpoint(web.URL+"/v1")),
	}
}

// add makes a server by hand and returns it as a stack's outputs would have it.
func (w *world) add(name, location string, labels map[string]string) provision.Server {
	w.t.Helper()
	made, _, err := w.other.Server.Create(w.t.Context(), hcloud.ServerCreateOpts{
		Name: name, ServerType: &hcloud.ServerType{Name: "ccx13"}, Image: &hcloud.Image{Name: "ubuntu-24.04"},
		Location: &hcloud.Location{Name: location}, Labels: labels,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return provision.Server{Role: provision.App, ID: strconv.FormatInt(made.Server.ID, 10), IPv4: made.Server.PublicNet.IPv4.IP.String()}
}

func (w *world) labels(s provision.Server) map[string]string {
	w.t.Helper()
	for _, v := range w.Servers("token") {
		if strconv.FormatInt(v.ID, 10) == s.ID {
			return v.Labels
		}
	}
	w.t.Fatalf("no server %s", s.ID)
	return nil
}

func job(region placement.Region) provision.Job {
	return provision.Job{ID: "job-1", TenantID: "acme", Region: region}
}

// Our own calls keep the vendor's contract, and so does what is answered.
func TestContract(t *testing.T) {
	w := newWorld(t, vendor.Options{}, func(h http.Handler) http.Handler { return contract.Handler(t, "hcloud.json", "/v1", h) })
	s := w.add("app", "sin", map[string]string{"managed-by": "prego"})
	if _, err := w.project.Verify(t.Context(), job(placement.SG), []provision.Server{s, {IPv4: s.IPv4}}); err != nil {
		t.Error(err)
	}
	if err := w.project.Label(t.Context(), s, map[string]string{"tenant_id": "acme"}); err != nil {
		t.Error(err)
	}
	for _, kind := range []string{"server:Server", "network:Network", "firewall:Firewall", "placementGroup:PlacementGroup", "sshKey:SshKey"} {
		if _, _, err := w.project.Find(t.Context(), "hcloud:index/"+kind, "app", nil); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := w.project.Find(t.Context(), "hcloud:index/networkSubnet:NetworkSubnet", "s", map[string]any{"networkId": 7.0, "ipRange": "10.0.0.0/24"}); err != nil {
		t.Error(err)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vendor.Options{ActionTime: 20 * time.Millisecond}, nil)
	app, db := w.add("app", "fsn1", nil), w.add("db", "hel1", nil)
	db.Role = provision.DB
	byAddress := provision.Server{Role: provision.DB, IPv4: db.IPv4}
	byID := provision.Server{Role: provision.App, ID: app.ID}

	got, err := w.project.Verify(t.Context(), job(placement.EU), []provision.Server{byID, byAddress})
	if err != nil {
		t.Fatal(err)
	}
	first := func(i int) string { return strings.TrimSuffix(w.Servers("token")[i].IPv6, "/64") + "1" }
	want := []provision.Server{
		{Role: provision.App, ID: app.ID, Name: "app", IPv4: app.IPv4, IPv6: first(0), Location: "fsn1", Type: "ccx13"},
		{Role: provision.DB, ID: db.ID, Name: "db", IPv4: db.IPv4, IPv6: first(1), Location: "hel1", Type: "ccx13"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, v := range w.Servers("token") {
		if v.Status != "running" {
			t.Errorf("Verify did not wait for %s, which is %s", v.Name, v.Status)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vendor.Options{}, nil)
	s := w.add("app", "sin", nil)
	tests := []struct {
		name   string
		region placement.Region
		server provision.Server
		class  provision.Class
		text   string
	}{
		{"another region", placement.EU, s, provision.Conflict, "expected eu (nbg1, fsn1, hel1), found sin"},
		{"another address", placement.SG, provision.Server{Role: provision.App, ID: s.ID, IPv4: "192.0.2.200"}, provision.Conflict, "expected 192.0.2.200, as the stack says, found " + s.IPv4},
		{"gone", placement.SG, provision.Server{Role: provision.Redis, ID: "7"}, provision.NotFound, "redis server 7"},
		{"unknown address", placement.SG, provision.Server{Role: provision.DB, IPv4: "192.0.2.200"}, provision.NotFound, "192.0.2.200 of the db server"},
		{"nothing known", placement.SG, provision.Server{Role: provision.DB}, provision.Invalid, "neither ID nor address"},
		{"no number", placement.SG, provision.Server{ID: "../actions"}, provision.Invalid, "no ID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.project.Verify(t.Context(), job(tt.region), []provision.Server{tt.server})
			if provision.ClassOf(err) != tt.class || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v (%s), want %s with %q", err, provision.ClassOf(err), tt.class, tt.text)
			}
		})
	}
	elsewhere := &hetzner.Project{Token: "token", Endpoint: w.project.Endpoint, Locations: map[placement.Region][]string{placement.EU: {"sin"}}}
	if _, err := elsewhere.Verify(t.Context(), job(placement.EU), []provision.Server{s}); err != nil {
		t.Errorf("with locations of its own: %v", err)
	}
}

// A server that never starts is given up in time, without asking all the time.
func TestVerifyGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vendor.Options{ActionTime: time.Hour}, nil)
	s := w.add("app", "sin", nil)
	w.project.Wait, w.project.Poll = 300*time.Millisecond, 10*time.Millisecond
	_, err := w.project.Verify(t.Context(), job(placement.SG), []provision.Server{s})
	if provision.ClassOf(err) != provision.Busy || !strings.Contains(err.Error(), "does not run after 300ms: it is initializing") {
		t.Errorf("got %v", err)
	}
	if n := w.Calls()["GET /v1/servers/{id}"]; n < 3 || n > 12 {
		t.Errorf("asked %d times", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	w.project.Wait = time.Hour
	if _, err := w.project.Verify(ctx, job(placement.SG), []provision.Server{s}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a deadline: %v", err)
	}
}

// Where requests are scarce, waiting leaves the rest to others.
func TestVerifySparesTheRateLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vendor.Options{ActionTime: time.Hour, RateLimit: 20}, nil)
	s := w.add("app", "sin", nil)
	w.project.Wait = time.Second
	_, err := w.project.Verify(t.Context(), job(placement.SG), []provision.Server{s})
	if provision.ClassOf(err) != provision.Busy || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("got %v", err)
	}
	if n := w.Calls()["GET /v1/servers/{id}"]; n > 19 {
		t.Errorf("asked %d times: the limit of 20 is used up", n)
	}
}

func TestLabel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vendor.Options{}, nil)
	s := w.add("app", "sin", map[string]string{"managed-by": "prego", "role": "old"})
	labels := map[string]string{"tenant_id": "acme", "role": "app"}
	for range 2 {
		if err := w.project.Label(t.Context(), s, labels); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{"managed-by": "prego", "tenant_id": "acme", "role": "app"}
	if diff := cmp.Diff(want, w.labels(s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := w.Calls()["PUT /v1/servers/{id}"]; n != 1 {
		t.Errorf("written %d times, want once", n)
	}

	err := w.project.Label(t.Context(), s, map[string]string{"tenant_id": "globex"})
	if provision.ClassOf(err) != provision.Conflict || !strings.Contains(err.Error(), "expected label tenant_id=globex, found acme") {
		t.Errorf("another tenant's: %v", err)
	}
	if diff := cmp.Diff(want, w.labels(s)); diff != "" {
		t.Errorf("another tenant's server was changed (-want +got):\n%s", diff)
	}
}

// A lost answer is looked into before anything is sent again.
func TestLabelLostAnswer(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]standin.Action{
		"after the effect":  {Lose: true},
		"before the effect": {Status: http.StatusServiceUnavailable, Body: "gateway"},
		"locked": {
			Status: http.StatusLocked, Header: http.Header{"Content-Type": {"application/json"}},
			Body: `{"error":{"code":"locked","message":"server is locked"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, vendor.Options{}, nil)
			s := w.add("app", "sin", nil)
			puts := 0
			w.Faults.Set(func(r *http.Request) standin.Action {
				if r.Method != http.MethodPut {
					return standin.Action{}
				}
				if puts++; puts == 1 {
					return fault
				}
				return standin.Action{}
			})
			before := w.Mutations("token")
			if err := w.project.Label(t.Context(), s, map[string]string{"tenant_id": "acme"}); err != nil {
				t.Fatal(err)
			}
			if n := w.Mutations("token") - before; n != 1 || w.labels(s)["tenant_id"] != "acme" {
				t.Errorf("changed %d times, labels %v", n, w.labels(s))
			}
		})
	}
}

// What only asks is asked again when the answer is lost.
func TestLostAnswerToAQuestion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vendor.Options{}, nil)
	s := w.add("app", "sin", nil)
	lose := 2
	w.Faults.Set(func(*http.Request) standin.Action {
		lose--
		return standin.Action{Lose: lose >= 0}
	})
	if _, err := w.project.Verify(t.Context(), job(placement.SG), []provision.Server{s}); err != nil {
		t.Errorf("two lost answers: %v", err)
	}
	lose = 1000
	_, err := w.project.Verify(t.Context(), job(placement.SG), []provision.Server{s})
	if provision.ClassOf(err) != provision.Busy || !strings.Contains(err.Error(), "hetzner did not answer") {
		t.Errorf("no answer at all: %v", err)
	}
}

// Each of the vendor's codes has a class, and its request is named.
func TestErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status int
		code   string
		class  provision.Class
	}{
		{401, "unauthorized", provision.Denied},
		{401, "token_readonly", provision.Denied},
		{403, "forbidden", provision.Denied},
		{403, "maintenance", provision.Busy},
		{403, "resource_limit_exceeded", provision.NoCapacity},
		{409, "uniqueness_error", provision.Conflict},
		{409, "conflict", provision.Busy},
		{410, "deprecated_api_endpoint", provision.Invalid},
		{412, "resource_unavailable", provision.NoCapacity},
		{422, "invalid_input", provision.Invalid},
		{422, "placement_error", provision.NoCapacity},
		{423, "locked", provision.Busy},
		{423, "protected", provision.Conflict},
		{429, "rate_limit_exceeded", provision.Busy},
		{500, "server_error", provision.Busy},
		{503, "unavailable", provision.Busy},
		{504, "timeout", provision.Busy},
		{418, "never_heard_of", provision.Internal},
	}
	for _, tt := range tests {
		t.Run(tt.code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, vendor.Options{}, nil)
			w.Faults.Set(func(*http.Request) standin.Action {
				return standin.Action{
					Status: tt.status, Header: http.Header{"Content-Type": {"application/json"}, "X-Correlation-Id": {"abc123"}},
					Body: `{"error":{"code":"` + tt.code + `","message":"because\nof this","details":null}}`,
				}
			})
			_, _, err := w.project.Find(t.Context(), "hcloud:index/server:Server", "app", nil)
			want := "look for Server app: because of this (" + tt.code + ") (request abc123)"
			if provision.ClassOf(err) != tt.class || err.Error() != want {
				t.Errorf("got %v (%s), want %s (%s)", err, provision.ClassOf(err), want, tt.class)
			}
		})
	}
}

// What is long is cut, and not within a character: else it would not be text any more, and
// nobody would take it.
func TestLongError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vendor.Options{}, nil)
	w.Faults.Set(func(*http.Request) standin.Action {
		return standin.Action{
			Status: 422, Header: http.Header{"Content-Type": {"application/json"}},
			Body: `{"error":{"code":"invalid_input","message":"a` + strings.Repeat("é", 400) + `","details":null}}`,
		}
	})
	_, _, err := w.project.Find(t.Context(), "hcloud:index/server:Server", "app", nil)
	if text := err.Error(); !utf8.ValidString(text) || !strings.Contains(text, "éé (invalid_input)") || len(text) > 400 {
		t.Errorf("%q", text)
	}
}

func TestBadTokens(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"", "two words", "new\nline", "unknown"} {
		w := newWorld(t, vendor.Options{}, nil)
		w.project.Token = token
		_, _, err := w.project.Find(t.Context(), "hcloud:index/server:Server", "app", nil)
		if provision.ClassOf(err) != provision.Denied || token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("token %q: %v", token, err)
		}
	}
	w := newWorld(t, vendor.Options{}, nil)
	s := w.add("app", "sin", nil)
	w.project.Token = "look"
	if err := w.project.Label(t.Context(), s, map[string]string{"a": "b"}); provision.ClassOf(err) != provision.Denied {
		t.Errorf("token that may only look: %v", err)
	}
}

// An answer without end is not read to its end.
func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		page := []byte(strings.Repeat(" ", 1<<20))
		for range 20 {
			if _, err := w.Write(page); err != nil {
				return
			}
		}
	}))
	t.Cleanup(web.Close)
	p := &hetzner.Project{Token: "token", Endpoint: web.URL}
	_, _, err := p.Find(t.Context(), "hcloud:index/server:Server", "app", nil)
	if err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("got %v", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vendor.Options{}, nil)
	ctx := t.Context()
	ours := map[string]string{"managed-by": "prego", "tenant_id": "acme", "job_id": "job-1"}
	app := w.add("app", "sin", ours)
	w.add("theirs", "sin", map[string]string{"tenant_id": "acme"})
	_, ipRange, err := net.ParseCIDR("10.0.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	_, subRange, err := net.ParseCIDR("10.0.1.0/24")
	if err != nil {
		t.Fatal(err)
	}
	newNetwork := func(name string, labels map[string]string) string {
		n, _, err := w.other.Network.Create(ctx, hcloud.NetworkCreateOpts{Name: name, IPRange: ipRange, Labels: labels, Subnets: []hcloud.NetworkSubnet{
			{Type: hcloud.NetworkSubnetTypeCloud, IPRange: subRange, NetworkZone: hcloud.NetworkZoneEUCentral},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return strconv.FormatInt(n.ID, 10)
	}
	network, foreign := newNetwork("net", ours), newNetwork("foreign", nil)
	asNumber := func(id string) float64 {
		n, err := strconv.ParseFloat(id, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	wall, _, err := w.other.Firewall.Create(ctx, hcloud.FirewallCreateOpts{Name: "wall", Labels: ours})
	if err != nil {
		t.Fatal(err)
	}

	type inputs = map[string]any
	type labels = map[string]any
	tests := []struct {
		name, typ, resource string
		inputs              inputs
		id                  string
		class               provision.Class
	}{
		{"by name", "server:Server", "x", inputs{"name": "app"}, app.ID, ""},
		{"by resource name", "server:Server", "app", inputs{}, app.ID, ""},
		{"same marks", "server:Server", "x", inputs{"name": "app", "labels": labels{"tenant_id": "acme", "job_id": "job-1"}}, app.ID, ""},
		{"another tenant's", "server:Server", "x", inputs{"name": "app", "labels": labels{"tenant_id": "globex"}}, "", provision.Conflict},
		{"another job's", "server:Server", "x", inputs{"name": "app", "labels": labels{"job_id": "job-2"}}, "", provision.Conflict},
		{"not made by us", "server:Server", "x", inputs{"name": "theirs"}, "", provision.Conflict},
		{"absent", "server:Server", "x", inputs{"name": "nobody"}, "", ""},
		{"network", "network:Network", "x", inputs{"name": "net"}, network, ""},
		{"subnet", "networkSubnet:NetworkSubnet", "x", inputs{"networkId": asNumber(network), "ipRange": "10.0.1.0/24"}, network + "-10.0.1.0/24", ""},
		{"subnet by text", "networkSubnet:NetworkSubnet", "x", inputs{"networkId": network, "ipRange": "10.0.1.0/24"}, network + "-10.0.1.0/24", ""},
		{"absent subnet", "networkSubnet:NetworkSubnet", "x", inputs{"networkId": asNumber(network), "ipRange": "10.0.2.0/24"}, "", ""},
		{"subnet of a stranger", "networkSubnet:NetworkSubnet", "x", inputs{"networkId": asNumber(foreign), "ipRange": "10.0.1.0/24"}, "", provision.Conflict},
		{"subnet of nothing", "networkSubnet:NetworkSubnet", "x", inputs{}, "", provision.Invalid},
		{"firewall", "firewall:Firewall", "x", inputs{"name": "wall"}, strconv.FormatInt(wall.Firewall.ID, 10), ""},
		{"absent group", "placementGroup:PlacementGroup", "x", inputs{"name": "wall"}, "", ""},
		{"absent key", "sshKey:SshKey", "x", inputs{"name": "wall"}, "", ""},
		{"unknown type", "volume:Volume", "app", inputs{}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, found, err := w.project.Find(ctx, "hcloud:index/"+tt.typ, tt.resource, tt.inputs)
			if id != tt.id || found != (tt.id != "") || provision.ClassOf(err) != tt.class {
				t.Errorf("got %q, %v, %v; want %q, class %q", id, found, err, tt.id, tt.class)
			}
		})
	}
	if _, found, err := w.project.Find(ctx, "aws:ec2/instance:Instance", "app", nil); found || err != nil {
		t.Errorf("another vendor's: %v, %v", found, err)
	}
}
