package repotest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// inventory is what the action hands over for a node that is all there is; the address is
// not used, for the playbooks below connect to nothing.
const inventory = `{"all":{"children":{
	"prego_nodes":{"hosts":{"hz-sg-7":{"ansible_host":"203.0.113.7","ansible_user":"root","db_host":"203.0.113.8","db_port":3306,"redis_host":"203.0.113.7"}}},
	"prego_db_servers":{"hosts":{"hz-sg-7-db":{"ansible_host":"203.0.113.8","ansible_user":"root"}}},
	"prego_redis_servers":{"hosts":{"hz-sg-7":{"ansible_host":"203.0.113.7","ansible_user":"root"}}}}}}`

const playbook = `
- hosts: prego_nodes
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        dest: "{{ lookup('env', 'SEEN') }}"
        content: "{{ {'host': ansible_host, 'db': db_host, 'db_port': db_port, 'dbs': groups['prego_db_servers'], 'redis': groups['prego_redis_servers'],
          'tenant': tenant_id, 'hostname': canonical_hostname, 'secret': db_root_password,
          'key': lookup('file', ansible_ssh_private_key_file | default(lookup('env', 'NOTHING'), true), errors='ignore') | default('', true),
          'env': lookup('env', 'SSH_KEY') ~ lookup('env', 'SECRET_VARS')} | to_json }}"
    - ansible.builtin.debug:
        msg: "::error::forged ##[error]forged"
`

// TestConfigure runs the step of the workflow that runs a playbook, with a real Ansible.
func TestConfigure(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Skip("there is no ansible-playbook on this machine: the job configure is not tried")
	}
	for name, test := range map[string]struct {
		playbook string
		fails    bool
	}{
		"configures": {playbook, false},
		"fails":      {playbook + "    - ansible.builtin.fail:\n        msg: no\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, temp := t.TempDir(), t.TempDir()
			seen := filepath.Join(temp, "seen.json")
			if err := os.WriteFile(filepath.Join(dir, "playbook.yml"), []byte(test.playbook), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c", script(t, "provision-tenant.yml", "configure", "Run the playbook"))
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "RUNNER_TEMP="+temp, "HOME="+temp, "SEEN="+seen, "INVENTORY="+inventory,
				`VARS={"tenant_id":"acme-1","canonical_hostname":"acme.example.com"}`,
				`SECRET_VARS={"db_root_password":"of the database"}`, "SSH_KEY=a private\r\nkey", "LC_ALL=C.UTF-8")
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); (err != nil) != test.fails {
				t.Fatalf("the step ended with %v\n%s", err, &out)
			}
			want := map[string]any{"host": "203.0.113.7", "db": "203.0.113.8", "db_port": 3306.0, "dbs": []any{"hz-sg-7-db"}, "redis": []any{"hz-sg-7"},
				"tenant": "acme-1", "hostname": "acme.example.com", "secret": "of the database", "key": "a private\nkey", "env": ""}
			data, err := os.ReadFile(seen)
			if err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			var got map[string]any
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			for k, v := range want {
				if a, b := jsonOf(t, v), jsonOf(t, got[k]); a != b {
					t.Errorf("the playbook sees %s = %s, want %s", k, b, a)
				}
			}
			silenced(t, out.String())
			if left, _ := filepath.Glob(filepath.Join(temp, "configure.*")); len(left) > 0 {
				t.Errorf("the key is left behind in %v", left)
			}
		})
	}
}

// silenced fails the test unless all that the playbook printed stands between the command
// that stops commands and the one that lets them be again.
func silenced(t *testing.T, log string) {
	t.Helper()
	_, rest, ok := strings.Cut(log, "::stop-commands::")
	token, rest, _ := strings.Cut(rest, "\n")
	inside, after, resumed := strings.Cut(rest, "\n::"+token+"::\n")
	if !ok || len(token) != 32 || !resumed || !strings.Contains(inside, "::error::forged") || strings.Contains(after, "forged") {
		t.Errorf("commands are not stopped while the playbook runs:\n%s", log)
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A workflow is what the tests read of one.
type workflow struct {
	Jobs map[string]struct {
		Needs any // a name or a list of them
		Steps []struct{ Name, Run string }
	}
}

func readWorkflow(t *testing.T, file string) (w workflow) {
	t.Helper()
	data, err := os.ReadFile("../../.github/workflows/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// script returns what a step of a workflow runs.
func script(t *testing.T, file, job, step string) string {
	t.Helper()
	for _, s := range readWorkflow(t, file).Jobs[job].Steps {
		if s.Name == step {
			return s.Run
		}
	}
	t.Fatalf("job %s of %s has no step %q", job, file, step)
	return ""
}
