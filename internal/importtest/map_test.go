package importtest

import (
	"slices"
	"strings"
)

// imports lists, for every package, the packages of ours that it imports, tests left out.
// It is the whole truth, not a limit.
var imports = map[string]string{
	// The middle: what a tenant, a job and a step are.
	"internal/placement": "",
	"internal/provision": "internal/placement",
	"internal/pipeline":  "internal/provision",
	"internal/dispatch":  "internal/provision",
	"internal/consumer":  "internal/dispatch internal/provision",
	"internal/workflow":  "internal/placement internal/provision",

	// Where dispatches are recorded.
	"internal/dispatch/ledgertest":     "internal/dispatch internal/provision",
	"internal/dispatch/postgresledger": "internal/dispatch internal/provision",
	"internal/dispatch/sqliteledger":   "internal/dispatch internal/provision",

	// The dispatcher's HTTP.
	"internal/dispatchserver": "internal/consumer internal/dispatch internal/provision",

	// The edges: one outside party each.
	"internal/actions":      "",
	"internal/cloudflare":   "internal/provision",
	"internal/controlplane": "internal/placement internal/provision",
	"internal/github":       "internal/provision",
	"internal/hetzner":      "internal/placement internal/provision",
	"internal/pulumi":       "internal/provision",

	// The Pulumi program that is used where no repository is named.
	"internal/stackprogram": "internal/placement internal/provision",

	// The control plane.
	"internal/store":           "internal/placement internal/provision",
	"internal/store/postgres":  "internal/provision internal/store internal/store/sqlstore",
	"internal/store/sqlite":    "internal/provision internal/store internal/store/sqlstore",
	"internal/store/sqlstore":  "internal/placement internal/provision internal/store",
	"internal/store/storetest": "internal/placement internal/provision internal/store",
	"internal/server":          "internal/placement internal/provision internal/store",

	// The sandbox: the outside parties on loopback, and what it needs to run the engine.
	"internal/sandbox": "internal/controlplane internal/placement internal/provision" +
		" internal/sandbox/cloudflare internal/sandbox/github internal/sandbox/hetzner internal/sandbox/toolchain",
	"internal/sandbox/cloudflare": "internal/sandbox/standin",
	"internal/sandbox/contract":   "",
	"internal/sandbox/github":     "internal/provision internal/sandbox/standin",
	"internal/sandbox/hetzner":    "internal/sandbox/standin",
	"internal/sandbox/standin":    "",
	"internal/sandbox/toolchain":  "internal/provision",

	// A Postgres server for tests.
	"internal/postgrestest": "",
	// Compresses the image's layers for a release.
	"internal/imagepack": "",

	// Benchmarks, each with its peer.
	"internal/bench": "internal/placement internal/provision internal/pulumi internal/sandbox/github internal/sandbox/hetzner internal/sandbox/toolchain" +
		" internal/store internal/store/sqlite",

	// The commands: only they know both the middle and the edges.
	"cmd/controlplane": "internal/cloudflare internal/controlplane internal/dispatch internal/dispatch/postgresledger" +
		" internal/dispatch/sqliteledger internal/github internal/placement internal/provision internal/server" +
		" internal/store internal/store/postgres internal/store/sqlite internal/workflow",
	"cmd/dispatcher": "internal/cloudflare internal/consumer internal/dispatch internal/dispatch/postgresledger" +
		" internal/dispatch/sqliteledger internal/dispatchserver internal/github internal/provision internal/workflow",
	"cmd/provision-tenant": "internal/actions internal/cloudflare internal/controlplane internal/hetzner" +
		" internal/pipeline internal/placement internal/provision internal/pulumi internal/stackprogram",
	"cmd/sandbox": "internal/provision internal/sandbox",
}

// modules lists, for every module of others, the packages of ours that import it, tests
// left out. It too is the whole truth: a vendor is known to one edge and to its stand-in.
var modules = map[string]string{
	// The vendors' SDKs.
	"github.com/bradleyfalzon/ghinstallation/v2": "internal/github",
	"github.com/cloudflare/cloudflare-go":        "internal/cloudflare",
	"github.com/google/go-github/v60":            "internal/github",
	"github.com/hetznercloud/hcloud-go/v2":       "internal/hetzner internal/sandbox/hetzner",
	"github.com/pulumi/pulumi-hcloud/sdk":        "internal/stackprogram",
	"github.com/pulumi/pulumi/sdk/v3":            "internal/pulumi internal/stackprogram",
	"github.com/sethvargo/go-githubactions":      "internal/actions",

	// What ghinstallation signs.
	"github.com/golang-jwt/jwt/v4": "internal/github",

	// What Pulumi's Automation API speaks.
	"github.com/blang/semver":    "internal/pulumi",
	"google.golang.org/grpc":     "internal/pulumi",
	"google.golang.org/protobuf": "internal/pulumi",

	// The control plane.
	"github.com/danielgtaylor/huma/v2":                    "internal/server",
	"github.com/prometheus/client_golang":                 "internal/dispatchserver internal/server",
	"github.com/stripe/stripe-go/v82":                     "internal/server",
	"golang.org/x/net":                                    "internal/dispatchserver internal/server",
	"github.com/pressly/goose/v3":                         "internal/store/postgres internal/store/sqlite",
	"github.com/riverqueue/river":                         "internal/store/postgres internal/store/sqlite internal/store/sqlstore",
	"github.com/riverqueue/river/riverdriver/riverpgxv5":  "internal/store/postgres",
	"github.com/riverqueue/river/riverdriver/riversqlite": "internal/store/sqlite",
	"modernc.org/sqlite":                                  "internal/dispatch/sqliteledger internal/store/sqlite",
	"github.com/jackc/pgx/v5":                             "internal/dispatch/postgresledger internal/postgrestest internal/store/postgres",

	// Commands, files and terminals.
	"github.com/spf13/cobra": "cmd/controlplane cmd/dispatcher cmd/provision-tenant cmd/sandbox",
	"golang.org/x/sync":      "internal/sandbox",
	"golang.org/x/term":      "cmd/sandbox",
	"gopkg.in/yaml.v3":       "internal/sandbox/github internal/workflow",

	// The sandbox, and what tests call.
	"github.com/getkin/kin-openapi": "internal/sandbox/contract",
	"github.com/google/go-cmp":      "internal/dispatch/ledgertest internal/store/storetest",
	"github.com/nektos/act":         "internal/sandbox/github",
}

// A rule is what the tables must keep to, whatever they say.
type rule struct {
	about  func(pkg string) bool
	never  func(imported string) bool // a path of ours, or of others
	reason string
}

var edges = within("internal/actions", "internal/cloudflare", "internal/controlplane", "internal/github", "internal/hetzner", "internal/pulumi")

var rules = []rule{
	{within("internal/placement"), allBut(),
		"a decision is a pure function of what came in, so that it can be replayed"},
	{within("internal/provision"), allBut("internal/placement"),
		"what it imports, everything imports"},
	{within("internal/pipeline"), allBut("internal/placement", "internal/provision"),
		"the steps know no vendor: what they need from outside comes in as a function or an interface"},
	{exactly("internal/dispatch"), allBut("internal/placement", "internal/provision"),
		"exactly one run per job is decided without knowing whose runs they are"},
	{within("internal/consumer"), allBut("internal/dispatch", "internal/placement", "internal/provision"),
		"what becomes of a message is decided without knowing whose queue it is"},
	{within("internal/workflow"), allBut("internal/placement", "internal/provision", "gopkg.in/yaml.v3"),
		"a workflow file is read, not run: YAML is all that it takes"},
	{outside("cmd", "internal/sandbox", "internal/bench"), edges,
		"no edge knows another, and the middle knows none: only the commands know both"},
	{outside("cmd/sandbox", "internal/sandbox", "internal/bench"), within("internal/sandbox"),
		"what plays an outside party does not ship"},
	{outside(), within("cmd"),
		"a command is nobody's library"},
	{outside("internal/store/storetest", "internal/dispatch/ledgertest", "internal/sandbox/contract", "internal/postgrestest"), within("testing"),
		"tests do not ship; storetest, ledgertest, contract and postgrestest are there to be called by tests"},
}

// exactly returns a test for one package, without those below it.
func exactly(root string) func(string) bool { return func(p string) bool { return p == root } }

// within returns a test for paths that are, or lie below, one of the roots.
func within(roots ...string) func(string) bool {
	return func(p string) bool {
		return slices.ContainsFunc(roots, func(root string) bool { return p == root || strings.HasPrefix(p, root+"/") })
	}
}

// outside returns the opposite of within.
func outside(roots ...string) func(string) bool {
	return func(p string) bool { return !within(roots...)(p) }
}

// allBut returns a test for what is neither allowed nor of the standard library.
func allBut(allowed ...string) func(string) bool {
	return func(imported string) bool { return !standard(imported) && !slices.Contains(allowed, imported) }
}

// ours reports whether an import is of a package of ours.
func ours(imported string) bool { return within("internal", "cmd")(imported) }

// standard reports whether an import is of the standard library: its first element has no
// dot, and it is none of ours.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".") && !ours(imported)
}

// reaches are rules about what a command is made of in the end, through whatever it imports.
var reaches = []struct {
	command, never, reason string
}{
	{"cmd/dispatcher", "internal/pulumi", "Pulumi's Automation API brings hundreds of packages and tens of megabytes"},
	{"cmd/dispatcher", "internal/stackprogram", "Pulumi's Automation API brings hundreds of packages and tens of megabytes"},
	{"cmd/controlplane", "internal/pulumi", "Pulumi's Automation API brings hundreds of packages and tens of megabytes"},
	{"cmd/controlplane", "internal/stackprogram", "Pulumi's Automation API brings hundreds of packages and tens of megabytes"},
	{"cmd/provision-tenant", "internal/server", "the action talks to the control plane over HTTP"},
	{"cmd/provision-tenant", "internal/store", "the action keeps nothing: all state is in the remote systems"},
}
