package sandbox

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// canaries are secrets that the action is given, by their variables. Each has more in it
// that is written in another way by somebody than any real one.
func (th *theatre) canaries() map[string]string {
	random := func() string { return rand.Text() + rand.Text()[:9] }
	odd := func() (s string) {
		for _, c := range ` "<&>'\/+=%é` {
			s += rand.Text()[:6] + string(c) // so that no two have a piece in common
		}
		return s + random()
	}
	return map[string]string{
		"INTERNAL_API_KEY":     th.key, // these have to be what the stand-ins take
		"HCLOUD_TOKEN_SG":      th.hetznerToken,
		"CLOUDFLARE_API_TOKEN": th.cloudflareToken,
		"GITHUB_TOKEN":         th.githubToken,

		"PULUMI_CONFIG_PASSPHRASE":       odd() + "\n" + odd() + "\n" + odd(),
		"PULUMI_ACCESS_TOKEN":            odd(),
		"HCLOUD_TOKEN_US":                random(),
		"INPUT_PULUMI_REPO_TOKEN":        odd(),
		"ACTIONS_RUNTIME_TOKEN":          odd(),
		"ACTIONS_ID_TOKEN_REQUEST_TOKEN": odd(),
		"AWS_SECRET_ACCESS_KEY":          odd(),
	}
}

// forChildren are the variables of the action's children that may hold a secret, and whose
// that is: no other child may know it, and no child any other.
var forChildren = map[string]string{
	"HCLOUD_TOKEN":             "HCLOUD_TOKEN_SG",
	"PULUMI_CONFIG_PASSPHRASE": "PULUMI_CONFIG_PASSPHRASE",
	"PULUMI_ACCESS_TOKEN":      "PULUMI_ACCESS_TOKEN",
}

// written are the ways in which somebody may write a secret, alone or in the middle of more.
func written(secret string) []string {
	quoted, _ := json.Marshal(secret)
	list := []string{secret, string(quoted), url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret))}
	for shift := range 3 {
		list = append(list, base64.StdEncoding.EncodeToString([]byte("user:"[:shift]+secret+"\n")))
	}
	return list
}

// pieces are parts of all the ways to write a secret or a line of it, long enough not to
// come about by chance. Of base64 they are what does not depend on what stands around it.
func pieces(secret string) map[string]bool {
	const long = 16
	set := map[string]bool{}
	for _, s := range append(strings.Split(secret, "\n"), secret) {
		for i, text := range written(s) {
			if shift := i - 5; shift >= 0 {
				text = text[[]int{0, 2, 3}[shift] : (shift+len(s))*8/6]
			}
			for i := 0; i+long <= len(text); i++ {
				set[text[i:i+long]] = true
			}
		}
	}
	return set
}

// A search finds pieces of secrets.
type search struct {
	byPiece map[string]string // the secret's variable
}

func newSearch(canaries map[string]string) search {
	x := search{map[string]string{}}
	for name, secret := range canaries {
		for piece := range pieces(secret) {
			x.byPiece[piece] = name
		}
	}
	return x
}

// in returns the variables of the secrets that text has a piece of, and for each such a piece.
func (x search) in(text string) map[string]string {
	found := map[string]string{}
	const long = 16
	for i := 0; i+long <= len(text); i++ {
		if name, ok := x.byPiece[text[i:i+long]]; ok {
			found[name] = text[max(0, i-20):min(len(text), i+long+20)]
		}
	}
	return found
}

// want wants text to have no piece of a secret.
func (x search) want(t *testing.T, where, text string) {
	t.Helper()
	for name, piece := range x.in(text) {
		t.Errorf("%s has a piece of %s: …%q…", where, name, piece)
	}
}

// TestCanary looks for secrets, whole and in every way in which they may be written, in all
// that the action leaves and passes on: in runs that go well, fail, are cancelled and are
// killed, with remotes and a program that repeat what they were given.
func TestCanary(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute: the real engine, five times")
	}
	t.Parallel()
	th := newTheatre(t, Options{PulumiRepo: "file:///nowhere", ServerTime: 500 * time.Millisecond})
	talks := talkativeRepository(t)
	canaries := th.canaries()
	x := newSearch(canaries)
	echo := func(secret string) string {
		return fmt.Sprintf("you sent %s, Bearer %s: %s", secret, secret, strings.Join(written(secret), " "))
	}
	fail := func(status int, contentType, body, secret string) standin.Action {
		quoted, _ := json.Marshal(echo(canaries[secret]))
		return standin.Action{Status: status, Header: http.Header{"Content-Type": {contentType}}, Body: strings.ReplaceAll(body, "ECHO", string(quoted))}
	}
	for _, test := range []struct {
		name   string
		status int
		call   call
		where  string
		answer standin.Action
		stop   func(t *testing.T, a *acting)
	}{
		{name: "well", status: 0},
		{name: "the program talks", status: 1},
		{"Hetzner repeats", 2, "POST /v1/servers", "hetzner",
			fail(422, "application/json", `{"error":{"code":"invalid_input","message":ECHO,"details":null}}`, "HCLOUD_TOKEN_SG"), nil},
		{"the control plane repeats", 2, "POST /internal/nodes", "controlplane",
			fail(422, "application/problem+json", `{"status":422,"title":"no","detail":ECHO}`, "INTERNAL_API_KEY"), nil},
		{"Cloudflare repeats", 2, "POST /client/v4/zones/N/dns_records", "cloudflare",
			fail(400, "application/json", `{"success":false,"errors":[{"code":1004,"message":ECHO}],"messages":[],"result":null}`, "CLOUDFLARE_API_TOKEN"), nil},
		{"cancelled", 130, "POST /v1/servers", "hetzner", standin.Action{}, func(t *testing.T, a *acting) { a.signal(t, syscall.SIGINT) }},
		{"killed", -1, "POST /v1/servers", "hetzner", standin.Action{}, func(_ *testing.T, a *acting) { killTree(a.cmd.Process.Pid) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := th.cast(t, "acme-"+strings.ToLower(strings.NewReplacer(" ", "-").Replace(test.name)), placement.Basic)
			p.inputs["create_new_server"], p.inputs["target_server_id"] = "true", ""
			if test.where == "cloudflare" { // the servers before it have been looked at
				p.inputs["create_new_server"], p.inputs["target_server_id"] = "false", th.node(t)
			}
			p.inputs["pulumi_repo"] = "file://" + talks
			for _, name := range slices.Sorted(maps.Keys(canaries)) {
				p.env = append(p.env, name+"="+canaries[name])
			}
			p.env = append(p.env, "RUNNER_DEBUG=1")
			heard := &callbacks{}
			var a *acting
			started := make(chan struct{})
			for name, f := range th.faults {
				f.Set(func(r *http.Request) standin.Action {
					heard.take(name, r)
					if name != test.where || callOf(r) != test.call {
						return standin.Action{}
					}
					if test.stop == nil {
						return test.answer
					}
					return standin.Action{After: func() { <-started; test.stop(t, a) }}
				})
			}
			a = th.act(t, p, false, nil)
			close(started)
			kids := a.sample()
			if status := a.wait(t); status != test.status {
				t.Errorf("exit status %d, want %d\n%s", status, test.status, a.log())
			}
			kids.check(t, x, test.name == "well")
			if test.status < 0 { // what it could not clean up, the post part does
				b := th.post(t, a)
				b.status(t, 0)
				x.want(t, "the post part's log", withoutMasks(b.log()))
			}
			for _, f := range th.faults {
				f.Set(nil)
			}
			x.want(t, "the log", withoutMasks(a.log()))
			for _, c := range heard.list {
				x.want(t, c.what, c.text)
			}
			x.wantFiles(t, a.dir)
			x.wantFiles(t, strings.TrimPrefix(th.StateURL, "file://"))
			if events, err := th.Client.Trace(t.Context(), p.jobID); err != nil || len(events) < 4 {
				t.Errorf("the trace has %d events (%v)", len(events), err)
			}
			if t.Failed() {
				t.Logf("log:\n%s", withoutMasks(a.log()))
			}
		})
	}
}

// talkativeRepository is the program of testdata, but one that says to one tenant all that it
// knows, and fails.
func talkativeRepository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../testdata/prego-pulumi")); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "program.sh")
	data, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	const talk = `
case ${PULUMI_CONFIG:-} in *acme-the-program-talks*)
	echo "error: token=$HCLOUD_TOKEN" >&2
	env >&2
	env | base64 -w 0 >&2
	exit 1 ;;
esac
`
	text := strings.Replace(string(data), "\nset -eu\n", "\nset -eu\n"+talk, 1)
	if text == string(data) {
		t.Fatal("program.sh is not what it was")
	}
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return gitRepository(t, dir)
}

// withoutMasks is a log without what the runner takes out of it: the commands that tell it
// what to mask.
func withoutMasks(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "::add-mask::") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// wantFiles wants no file below dir to have a piece of a secret.
func (x search) wantFiles(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		x.want(t, path, path+"\n"+string(data))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// callbacks are what the action has sent, without the header that lets it in.
type callbacks struct {
	mu   sync.Mutex
	list []struct{ what, text string }
}

func (c *callbacks) take(where string, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	header := r.Header.Clone()
	header.Del("Authorization")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, struct{ what, text string }{where + ": " + r.Method + " " + r.URL.Path,
		fmt.Sprint(r.URL, "\n", header, "\n", string(body))})
}

// kids are the environments and arguments of what the action has started.
type kids struct {
	done chan struct{}
	seen map[string]bool // "name\x00arguments\x00environment"
}

// sample looks at the action's children, until it has ended.
func (a *acting) sample() *kids {
	k := &kids{make(chan struct{}), map[string]bool{}}
	go func() {
		defer close(k.done)
		tick := time.NewTicker(5 * time.Millisecond) // git is gone soon
		defer tick.Stop()
		for {
			select {
			case <-a.done:
				return
			case <-tick.C:
			}
			for _, pid := range descendants(a.cmd.Process.Pid)[1:] {
				proc := filepath.Join("/proc", strconv.Itoa(pid))
				name, _ := os.ReadFile(filepath.Join(proc, "comm"))
				args, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
				env, err := os.ReadFile(filepath.Join(proc, "environ"))
				// Between fork and exec a child still is what the action is.
				if err == nil && len(args) > 0 && !bytes.HasPrefix(args, []byte("provision-tenant\x00")) {
					k.seen[strings.TrimSpace(string(name))+"\x01"+string(args)+"\x01"+string(env)] = true
				}
			}
		}
	}()
	return k
}

// check wants each child to know the secrets that it needs, in the variables that are named
// for them, and no other.
func (k *kids) check(t *testing.T, x search, all bool) {
	t.Helper()
	<-k.done
	names := map[string]bool{}
	for seen := range k.seen {
		part := strings.SplitN(seen, "\x01", 3)
		names[part[0]] = true
		x.want(t, "the arguments of "+part[0], part[1])
		for variable := range strings.SplitSeq(part[2], "\x00") {
			name, value, _ := strings.Cut(variable, "=")
			for secret := range x.in(value) {
				if forChildren[name] != secret || part[0] == "git" {
					t.Errorf("%s has %s in its variable %s", part[0], secret, name)
				}
			}
		}
	}
	if all && (!names["git"] || !names["pulumi"] || !names["pulumi-resource"] || !names["sh"]) {
		t.Errorf("of the children only %v were seen", slices.Sorted(maps.Keys(names)))
	}
}
