package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
)

func TestInventory(t *testing.T) {
	t.Parallel()
	const alone = `{"all":{"children":{
		"prego_nodes":{"hosts":{"hz-sg-7":{"ansible_host":"203.0.113.7","ansible_user":"root","node_id":"hz-sg-7","region":"sg","db_host":"203.0.113.7","db_port":3306,"redis_host":"203.0.113.7"}}},
		"prego_db_servers":{"hosts":{"hz-sg-7":{"ansible_host":"203.0.113.7","ansible_user":"root","node_id":"hz-sg-7","region":"sg","db_host":"203.0.113.7","db_port":3306,"redis_host":"203.0.113.7"}}},
		"prego_redis_servers":{"hosts":{"hz-sg-7":{"ansible_host":"203.0.113.7","ansible_user":"root","node_id":"hz-sg-7","region":"sg","db_host":"203.0.113.7","db_port":3306,"redis_host":"203.0.113.7"}}}}}}`
	const three = `{"all":{"children":{
		"prego_nodes":{"hosts":{"hz-sg-7":{"ansible_host":"203.0.113.7","ansible_user":"root","node_id":"hz-sg-7","region":"sg","db_host":"203.0.113.8","db_port":3306,"redis_host":"203.0.113.9"}}},
		"prego_db_servers":{"hosts":{"hz-sg-7-db":{"ansible_host":"203.0.113.8","ansible_user":"root","node_id":"hz-sg-7","region":"sg"}}},
		"prego_redis_servers":{"hosts":{"hz-sg-7-redis":{"ansible_host":"203.0.113.9","ansible_user":"root","node_id":"hz-sg-7","region":"sg"}}}}}}`
	node := provision.Node{ID: "hz-sg-7", Region: placement.SG, Host: "203.0.113.7"}
	apart := node
	apart.DBHost, apart.RedisHost = "203.0.113.8", "203.0.113.9"
	for want, n := range map[string]provision.Node{alone: node, three: apart} {
		if d := cmp.Diff(decoded(t, want), decoded(t, report{node: n}.inventory())); d != "" {
			t.Errorf("inventory (-want +got):\n%s", d)
		}
	}
	if got := (report{}).inventory() + (report{}).vars(); got != "" {
		t.Errorf("without a node: %s, want nothing", got)
	}
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// TestHandOver leaves the completion of a job to a later step, and carries it out there.
func TestHandOver(t *testing.T) {
	t.Parallel()
	var completions []provision.Completion
	mux := http.NewServeMux()
	mux.HandleFunc("GET /internal/nodes/{id}", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(provision.Node{ID: r.PathValue("id"), Region: placement.SG, Host: "8.8.4.4", Status: provision.NodeActive, Provider: "hetzner"})
	})
	mux.HandleFunc("POST /internal/provision-complete", func(w http.ResponseWriter, r *http.Request) {
		var c provision.Completion
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Error(err)
		}
		completions = append(completions, c)
		_, _ = w.Write([]byte("{}"))
	})
	mux.HandleFunc("POST /internal/trace-events", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })
	mux.HandleFunc("GET /internal/provision-jobs/{id}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"status":404,"title":"Not Found","detail":"there is no such job"}`))
	})
	plane := httptest.NewServer(mux)
	defer plane.Close()
	dns := cloudflare.New(cloudflare.Options{Token: "dns-token-of-the-test", ZoneName: "example.com"})
	api := httptest.NewServer(dns.Handler())
	defer api.Close()

	env := map[string]string{
		"CONTROL_PLANE_URL": plane.URL, "INTERNAL_API_KEY": "0123456789abcdef0123456789abcdef",
		"CLOUDFLARE_API_TOKEN": "dns-token-of-the-test", "CLOUDFLARE_ZONE_NAME": "example.com", "CLOUDFLARE_API_BASE_URL": api.URL + "/client/v4",
		"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "30433642", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_REPOSITORY": "pregoi/prego",
		"INPUT_JOB_ID": "job_1", "INPUT_TENANT_ID": "acme-1", "INPUT_REGION": "sg", "INPUT_TARGET_SERVER_ID": "hz-sg-7",
		"INPUT_SUBDOMAIN_SLUG": "acme", "INPUT_CANONICAL_HOSTNAME": "acme.example.com",
	}
	action := func(more map[string]string) (status int, outputs map[string]string) {
		t.Helper()
		all := maps.Clone(env)
		maps.Copy(all, more)
		file := filepath.Join(t.TempDir(), "output")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		all["GITHUB_OUTPUT"], all["GITHUB_STEP_SUMMARY"] = file, file+"-summary"
		var log bytes.Buffer
		status = command(t.Context(), nil, strings.NewReader(""), &log, &log, func(name string) string { return all[name] })
		t.Logf("exit %d\n%s", status, &log)
		return status, parseOutputs(t, file)
	}

	status, out := action(map[string]string{"INPUT_COMPLETION": "later"})
	if status != 0 || len(completions) != 0 || out["ansible_inventory"] == "" {
		t.Fatalf("later: exit %d, completions %v, inventory %q; want 0, none, and one", status, completions, out["ansible_inventory"])
	}
	if want := `{"canonical_hostname":"acme.example.com","job_id":"job_1","tenant_id":"acme-1"}`; out["ansible_vars"] != want {
		t.Errorf("ansible_vars %s, want %s", out["ansible_vars"], want)
	}
	for _, test := range []struct {
		outcome string
		want    provision.JobStatus
		exit    int
	}{{"success", provision.JobCompleted, 0}, {"skipped", provision.JobCompleted, 0}, {"failure", provision.JobFailed, 1}, {"cancelled", provision.JobCancelled, 130}} {
		completions = nil
		status, _ = action(map[string]string{"INPUT_STEP": "provision_complete", "INPUT_RESULT": out["result"], "INPUT_OUTCOME": test.outcome})
		if status != test.exit || len(completions) != 1 || completions[0].Status != test.want || completions[0].NodeID != "hz-sg-7" || completions[0].Host != "8.8.4.4" {
			t.Errorf("%s: exit %d, completions %+v; want exit %d and one that is %s", test.outcome, status, completions, test.exit, test.want)
		}
	}

	// The result of another job completes nothing.
	completions = nil
	status, _ = action(map[string]string{"INPUT_STEP": "provision_complete", "INPUT_RESULT": out["result"], "INPUT_JOB_ID": "job_2"})
	if status != 4 || len(completions) > 0 && completions[0].Status != provision.JobFailed {
		t.Errorf("another job's result: exit %d, completions %+v; want a conflict", status, completions)
	}
	// Nor does that of a run that has made nothing.
	for name, more := range map[string]map[string]string{"a plan": {"INPUT_MODE": "plan"}, "a single step": {"INPUT_STEP": "resolve_node"}, "nobody": nil} {
		part := map[string]string{"result": "none"}
		if more != nil {
			_, part = action(more)
		}
		completions = nil
		status, _ = action(map[string]string{"INPUT_STEP": "provision_complete", "INPUT_RESULT": part["result"]})
		if status != 2 || len(completions) > 0 {
			t.Errorf("the result of %s: exit %d, completions %+v; want exit 2 and none", name, status, completions)
		}
	}
	// A job that fails is not left to anybody.
	completions = nil
	status, _ = action(map[string]string{"INPUT_COMPLETION": "later", "INPUT_CANONICAL_HOSTNAME": "www.example.com"})
	if status == 0 || len(completions) != 1 || completions[0].Status != provision.JobFailed {
		t.Errorf("a failure: exit %d, completions %+v; want it told at once", status, completions)
	}
}

// parseOutputs reads an output file as the runner does, for values of one line.
func parseOutputs(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	lines := strings.Split(string(data), "\n")
	for i := 0; i+2 < len(lines); i += 3 {
		name, end, _ := strings.Cut(lines[i], "<<")
		if lines[i+2] != end {
			t.Fatalf("output %s has more than a line", name)
		}
		m[name] = lines[i+1]
	}
	return m
}
