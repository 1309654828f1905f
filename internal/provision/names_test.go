package provision_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// stackNames reads the table in testdata/stack-names.
func stackNames(t testing.TB) map[string]string {
	t.Helper()
	data, err := os.ReadFile("testdata/stack-names")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, stack, ok := strings.Cut(line, " -> ")
		if strings.HasPrefix(id, `"`) {
			if id, err = strconv.Unquote(id); err != nil {
				ok = false
			}
		}
		if _, twice := table[id]; !ok || twice {
			t.Fatalf("testdata/stack-names: %q is no line of its own, tenant_id -> stack", line)
		}
		table[id] = stack
	}
	return table
}

func TestDedicatedStack(t *testing.T) {
	table := stackNames(t)
	if len(table) < 40 {
		t.Errorf("testdata/stack-names has %d names, want at least 40", len(table))
	}
	for id, want := range table {
		if got := provision.DedicatedStack(id); got != want {
			t.Errorf("DedicatedStack(%q) = %q, want %q", id, got, want)
		}
	}
}

func TestStackName(t *testing.T) {
	for _, test := range []struct {
		job  provision.Job
		want string
	}{
		{provision.Job{TenantID: "acme-1", Region: placement.SG, Dedicated: true}, "dedicated-acme-1"},
		{provision.Job{TenantID: "acme-1", Region: placement.EU, Dedicated: true}, "dedicated-acme-1"},
		{provision.Job{TenantID: "acme-1", Region: placement.SG}, "sg"},
		{provision.Job{TenantID: "us", Region: placement.EU}, "eu"},
	} {
		if got := test.job.StackName(); got != test.want {
			t.Errorf("StackName() of %+v = %q, want %q", test.job, got, test.want)
		}
	}
}

// Pulumi's rule for a stack's name, and RFC 1123's for a part of a server's name.
var (
	pulumiStack = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)
	hostLabel   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	hetznerTag  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
)

// A name is one function of an identifier that must keep identifiers apart.
var names = map[string]struct {
	of    func(string) string
	valid *regexp.Regexp
}{
	"DedicatedStack": {provision.DedicatedStack, pulumiStack},
	"NodeKey":        {func(id string) string { return provision.Job{ID: id}.NodeKey() }, hostLabel},
	"LabelValue":     {provision.LabelValue, hetznerTag},
}

// anyID draws tenant_ids and job_ids: such as people choose, and such as nobody should.
func anyID() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?`),
		rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}`),
		rapid.StringMatching(`[a-z][a-z0-9-]{25,127}`), // around where names are cut
		rapid.StringMatching(`[aA][aA.-]{0,3}`),        // a small world, where names meet
		rapid.StringMatching(`[a-c]{1,2}-[a-z2-7]{16}`),
		rapid.String(),
	)
}

// rivals are identifiers that were made to get the name of id.
func rivals(id, name string) []string {
	safe := strings.TrimPrefix(name, "dedicated-")
	return []string{
		strings.ToUpper(id), strings.ToLower(id),
		id + "-", "-" + id, id + ".", id + "_", id + " ", id + "\n", id + "\x00",
		strings.ReplaceAll(id, "-", ""), strings.ReplaceAll(id, "-", "_"), strings.Trim(id, "-._"),
		id[:min(len(id), 28)], id[:min(len(id), 40)], id[:min(len(id), 63)], id + strings.Repeat("a", 64),
		safe, name, "dedicated-" + id, safe[max(0, len(safe)-16):], strings.TrimSuffix(safe, safe[max(0, len(safe)-16):]),
		id + "-" + safe[max(0, len(safe)-16):],
	}
}

func TestNamesKeepIdentifiersApart(t *testing.T) {
	for what, name := range names {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				id := anyID().Draw(t, "id")
				of := name.of(id)
				for _, other := range append(rivals(id, of), anyID().Draw(t, "other")) {
					if other != id && name.of(other) == of {
						t.Fatalf("%q and %q are both called %q", id, other, of)
					}
				}
			})
		})
	}
}

func TestNamesAreValid(t *testing.T) {
	for what, name := range names {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				id := anyID().Draw(t, "id")
				of := name.of(id)
				if !name.valid.MatchString(of) {
					t.Errorf("%q is called %q, which is not %s", id, of, name.valid)
				}
				if placement.Region(of).Valid() && what == "DedicatedStack" {
					t.Errorf("%q has the stack %q, which is a region's", id, of)
				}
			})
		})
	}
}

func TestPlainNamesStayPlain(t *testing.T) {
	plain := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		id := plain.Draw(t, "id")
		for what, want := range map[string]string{"DedicatedStack": "dedicated-" + id, "NodeKey": id, "LabelValue": id} {
			if got := names[what].of(id); got != want {
				t.Errorf("%s of %q = %q, want %q", what, id, got, want)
			}
		}
	})
}

func TestLabelValue(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, test := range []struct{ in, want string }{
		{"acme-1", "acme-1"},
		{"Acme.1_x", "Acme.1_x"}, // Hetzner takes both cases, dots and underscores
		{strings.Repeat("a", 63), strings.Repeat("a", 63)},
		{"job:1", "job-1-2huirttlokikq6ps"},
		{"acme-", "acme--3c3b2ljtnpjc6rbb"},
		{long, long[:40] + "-77qfj7t24dfw3rs4"},
		{"---", "x-zm7zdvko5yyokprv"}, // and not the bare hash, which is somebody's plain name
	} {
		if got := provision.LabelValue(test.in); got != test.want {
			t.Errorf("LabelValue(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

// The comment must fit into the 100 characters of Cloudflare's free plan, and tell tenants apart.
func TestRecordComment(t *testing.T) {
	if got, want := provision.RecordComment("acme-1"), "prego tenant=acme-1"; got != want {
		t.Errorf("RecordComment = %q, want %q", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		id := anyID().Draw(t, "id")
		if got := provision.RecordComment(id); len(got) > 100 {
			t.Errorf("RecordComment(%q) has %d characters, want at most 100", id, len(got))
		}
	})
}

func TestNodeKey(t *testing.T) {
	for id, want := range map[string]string{
		"job-1":                 "job-1",
		strings.Repeat("j", 28): strings.Repeat("j", 28),
		strings.Repeat("j", 29): strings.Repeat("j", 28) + "-2anngj2weq7yzmot",
		"job_01HZX3J9T5":        "job01hzx3j9t5-nmbu2ip55mp4x3t5",
	} {
		if got := (provision.Job{ID: id}).NodeKey(); got != want {
			t.Errorf("NodeKey of job %q = %q, want %q", id, got, want)
		}
	}
}

func TestNodeID(t *testing.T) {
	if got, want := provision.NodeID("sg", "4711"), "hz-sg-4711"; got != want {
		t.Errorf("NodeID = %q, want %q", got, want)
	}
}

func FuzzStackName(f *testing.F) {
	for id := range stackNames(f) {
		f.Add(id, "acme-1")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		stack := provision.DedicatedStack(a)
		if !pulumiStack.MatchString(stack) || placement.Region(stack).Valid() {
			t.Errorf("DedicatedStack(%q) = %q, which Pulumi does not take or a region has", a, stack)
		}
		for _, other := range append(rivals(a, stack), b) {
			if other != a && provision.DedicatedStack(other) == stack {
				t.Errorf("%q and %q share the stack %q", a, other, stack)
			}
		}
	})
}
