package cloudflare_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/cloudflare"
	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
	sandbox "github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

const token = "c4nary-token-of-cloudflare"

var _ pipeline.Zone = (*cloudflare.Zone)(nil)

// start returns a stand-in and a Zone that speaks to it.
func start(t *testing.T, o sandbox.Options) (*sandbox.Server, *cloudflare.Zone) {
	t.Helper()
	o.Token, o.ZoneName = token, "pregoi.com"
	s := sandbox.New(o)
	return s, zoneAt(t, s, s.Handler())
}

func zoneAt(t *testing.T, s *sandbox.Server, h http.Handler) *cloudflare.Zone {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &cloudflare.Zone{BaseURL: server.URL + "/client/v4", Token: token, ID: s.ZoneID()}
}

var acme = provision.Record{
	Type: "A", Name: "acme.pregoi.com", Content: "192.0.2.1", Proxied: true, TTL: 1, Comment: "prego tenant=acme",
}

func TestRecords(t *testing.T) {
	t.Parallel()
	s, z := start(t, sandbox.Options{MaxPerPage: 1})
	lifeOfRecords(t, s, z)
}

// The same, held against the vendor's document.
func TestContract(t *testing.T) {
	t.Parallel()
	s, _ := start(t, sandbox.Options{MaxPerPage: 1})
	lifeOfRecords(t, s, zoneAt(t, s, contract.Handler(t, "cloudflare.json", "/client/v4", s.Handler())))
}

func lifeOfRecords(t *testing.T, s *sandbox.Server, z *cloudflare.Zone) {
	t.Helper()
	z.ID, z.ZoneName = "", "Pregoi.com."
	ctx := t.Context()
	if name, err := z.Name(ctx); err != nil || name != "pregoi.com" {
		t.Fatalf("Name = %q, %v, want pregoi.com", name, err)
	}
	six := provision.Record{Type: "AAAA", Name: acme.Name, Content: "2001:db8::1", TTL: 300}
	var want []provision.Record
	for _, r := range []provision.Record{acme, six} {
		made, err := z.Create(ctx, r)
		if err != nil || made.ID == "" {
			t.Fatalf("Create(%+v) = %+v, %v", r, made, err)
		}
		if made.CreatedOn.IsZero() {
			t.Errorf("Create = %+v, want the time of it", made)
		}
		r.ID, r.CreatedOn = made.ID, made.CreatedOn
		if made != r {
			t.Errorf("Create = %+v, want %+v", made, r)
		}
		want = append(want, r)
	}
	if _, err := z.Create(ctx, provision.Record{Type: "TXT", Name: "other.pregoi.com", Content: "x"}); err != nil {
		t.Fatal(err)
	}
	got, err := z.Records(ctx, "ACME.pregoi.com")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Records: %v (-want +got):\n%s", err, diff)
	}
	want[0].Content, want[0].Proxied, want[0].Comment, want[0].TTL = "192.0.2.9", false, "", 60
	if made, err := z.Update(ctx, want[0]); err != nil || made != want[0] {
		t.Errorf("Update = %+v, %v, want %+v", made, err, want[0])
	}
	if err := z.Delete(ctx, want[1]); err != nil {
		t.Error(err)
	}
	got, err = z.Records(ctx, acme.Name)
	if diff := cmp.Diff(want[:1], got); err != nil || diff != "" {
		t.Errorf("Records: %v (-want +got):\n%s", err, diff)
	}
	if n := slices.Index(s.Calls(), "GET /client/v4/zones"); n != 0 || slices.Contains(s.Calls()[1:], "GET /client/v4/zones") {
		t.Errorf("the zone was not looked up once: %v", s.Calls())
	}
}

func TestFindZone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		id, zone, token string
		want            provision.Class
		calls           int
	}{
		"by id":           {id: "the id", want: "", calls: 1},
		"by name":         {zone: "PREGOI.com", want: "", calls: 1},
		"by both":         {id: "the id", zone: "pregoi.com", want: "", calls: 1},
		"by neither":      {want: provision.Invalid},
		"another name":    {id: "the id", zone: "pregoi.net", want: provision.Invalid, calls: 1},
		"no such name":    {zone: "regoi.com", want: provision.NotFound, calls: 1},
		"no such id":      {id: "pregoicom", want: provision.NotFound, calls: 1},
		"another's id":    {id: strings.Repeat("0", 32), want: provision.Denied, calls: 1},
		"no id at all":    {id: "../user", want: provision.Invalid},
		"wrong token":     {id: "the id", token: "wrong", want: provision.Denied, calls: 1},
		"malformed token": {id: "the id", token: "a b", want: provision.Denied, calls: 1},
		"no token":        {id: "the id", token: "none", want: provision.Denied},
	} {
		s, z := start(t, sandbox.Options{})
		if tt.id != "the id" {
			z.ID = tt.id
		}
		z.ZoneName = tt.zone
		if tt.token != "" {
			z.Token = strings.TrimPrefix(tt.token, "none")
		}
		got, err := z.Name(t.Context())
		if provision.ClassOf(err) != tt.want || tt.want == "" && got != "pregoi.com" {
			t.Errorf("%s: Name = %q, %v, want class %q", name, got, err, tt.want)
		}
		if n := len(s.Calls()); n != tt.calls {
			t.Errorf("%s: %d calls, want %d: %v", name, n, tt.calls, s.Calls())
		}
		if tt.want == provision.Denied && tt.calls > 0 && !strings.Contains(provision.NextAction(err), "DNS:Edit") {
			t.Errorf("%s: the advice is %q", name, provision.NextAction(err))
		}
		if tt.want == provision.NotFound && !strings.Contains(provision.NextAction(err), "Zone:Read") {
			t.Errorf("%s: the advice is %q", name, provision.NextAction(err))
		}
	}
}

// A list of zones is not trusted to be exact.
func TestZonesOfOtherNames(t *testing.T) {
	t.Parallel()
	for result, want := range map[string]provision.Class{
		`{"id":"1","name":"my-pregoi.com"}`:                                     provision.NotFound,
		`{"id":"1","name":"pregoi.com"},{"id":"2","name":"pregoi.com"}`:         provision.Invalid,
		`{"id":"1","name":"pregoi.com.example"},{"id":"2","name":"pregoi.com"}`: "",
	} {
		s, z := start(t, sandbox.Options{})
		z.ID, z.ZoneName = "", "pregoi.com"
		s.Faults.Set(func(*http.Request) standin.Action {
			return standin.Action{Status: 200, Body: `{"success":true,"errors":[],"messages":[],"result":[` + result + `]}`}
		})
		if _, err := z.Name(t.Context()); provision.ClassOf(err) != want {
			t.Errorf("Name with zones %s = %v, want class %q", result, err, want)
		}
	}
}

// What stands in the way of a record, in the vendor's words.
func TestConflict(t *testing.T) {
	t.Parallel()
	s, z := start(t, sandbox.Options{ReadToken: "read-only"})
	ctx := t.Context()
	made, err := z.Create(ctx, acme)
	if err != nil {
		t.Fatal(err)
	}
	alias := provision.Record{Type: "CNAME", Name: "alias.pregoi.com", Content: "x.example"}
	if _, err := z.Create(ctx, alias); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		record provision.Record
		class  provision.Class
		text   string
	}{
		{acme, provision.Conflict, "create the DNS record A acme.pregoi.com 192.0.2.1: Cloudflare: An identical record already exists (81058)"},
		{provision.Record{Type: "CNAME", Name: acme.Name, Content: "x.example"}, provision.Conflict, "(81053)"},
		{provision.Record{Type: "A", Name: alias.Name, Content: "192.0.2.1"}, provision.Conflict, "(81054)"},
		{provision.Record{Type: "A", Name: "a.pregoi.com", Content: "x"}, provision.Invalid, "must be a valid IPv4 address (9005)"},
		{provision.Record{Type: "A", Name: "a.pregoi.com", Content: "192.0.2.1", TTL: 2}, provision.Invalid, "DNS Validation Error (1004), TTL must be between 60"},
	} {
		_, err := z.Create(ctx, tt.record)
		var e *provision.Error
		if provision.ClassOf(err) != tt.class || !strings.Contains(err.Error(), tt.text) || !errors.As(err, &e) || !strings.HasSuffix(e.RequestID, "-SIN") {
			t.Errorf("Create(%+v) = %v (%s), want %s: … %s … and a request id", tt.record, err, provision.ClassOf(err), tt.class, tt.text)
		}
	}
	reader := &cloudflare.Zone{BaseURL: z.BaseURL, Token: "read-only", ID: z.ID}
	if err := reader.Delete(ctx, made); provision.ClassOf(err) != provision.Denied || len(s.Records()) != 2 {
		t.Errorf("Delete with a token that may only read = %v", err)
	}
}

// A record that somebody else has removed is gone for Delete, and to be looked for again
// for Update.
func TestRecordGone(t *testing.T) {
	t.Parallel()
	_, z := start(t, sandbox.Options{})
	gone := acme
	gone.ID = strings.Repeat("0", 32)
	if err := z.Delete(t.Context(), gone); err != nil {
		t.Errorf("Delete = %v", err)
	}
	if _, err := z.Update(t.Context(), gone); provision.ClassOf(err) != provision.Busy || !strings.Contains(err.Error(), "81044") {
		t.Errorf("Update = %v, want busy", err)
	}
	gone.ID = "nonsense"
	if err := z.Delete(t.Context(), gone); provision.ClassOf(err) != provision.NotFound {
		t.Errorf("Delete of what is no id = %v, want not_found", err)
	}
}

// onRecords answers requests for records with a, and lets those for the zone pass.
func onRecords(a standin.Action) func(*http.Request) standin.Action {
	return func(r *http.Request) standin.Action {
		if !strings.Contains(r.URL.Path, "/dns_records") {
			return standin.Action{}
		}
		return a
	}
}

// Every answer has one class, and nothing is sent twice.
func TestFaults(t *testing.T) {
	t.Parallel()
	refusal := func(code string) string {
		return `{"success":false,"errors":[{"code":` + code + `,"message":"the words"}],"messages":[],"result":null}`
	}
	for name, tt := range map[string]struct {
		status      int
		body, retry string
		want        provision.Class
		next        string
	}{
		"limited":               {429, refusal("971"), "299", provision.Busy, "wait 4m59s"},
		"limited, no wait":      {429, "", "", provision.Busy, "later"},
		"limited, absurd wait":  {429, "", "1000000", provision.Busy, "wait 1h0m0s"},
		"limited, past":         {429, "", "Mon, 02 Jan 2006 15:04:05 GMT", provision.Busy, "wait 1s"},
		"limited, nonsense":     {429, "", "soon", provision.Busy, "later"},
		"limited with a 200":    {200, refusal("971"), "", provision.Busy, ""},
		"broken":                {500, refusal("10013"), "", provision.Busy, ""},
		"gateway":               {502, "<html>bad gateway</html>", "", provision.Busy, ""},
		"maintenance":           {503, "", "30", provision.Busy, "wait 30s"},
		"cloudflare's own 5xx":  {524, "error code: 524", "", provision.Busy, ""},
		"authentication":        {403, refusal("10000"), "", provision.Denied, "Zone:Read and DNS:Edit"},
		"authorisation":         {403, refusal("9109"), "", provision.Denied, "Zone:Read and DNS:Edit"},
		"unauthorised":          {401, "", "", provision.Denied, "Zone:Read and DNS:Edit"},
		"headers":               {400, refusal("6003"), "", provision.Denied, ""},
		"exists":                {400, refusal("81057"), "", provision.Conflict, ""},
		"identical":             {409, refusal("81058"), "", provision.Conflict, ""},
		"invalid":               {400, refusal("9005"), "", provision.Invalid, ""},
		"not a zone":            {404, refusal("7003"), "", provision.NotFound, ""},
		"failed with a 200":     {200, refusal("81058"), "", provision.Conflict, ""},
		"failed without a code": {200, `{"success":false,"errors":[],"result":null}`, "", provision.Internal, ""},
		"cut off":               {200, `{"success":true,"errors":[],"resu`, "", provision.Busy, ""},
		"a page":                {200, "<html>welcome</html>", "", provision.Busy, ""},
		"empty":                 {200, "", "", provision.Busy, ""},
		"null":                  {200, "null", "", provision.Busy, ""},
		"refused with null":     {400, " null\n", "", provision.Invalid, ""},
		"another shape":         {200, `{"success":true,"errors":[],"messages":[],"result":"x"}`, "", provision.Busy, ""},
		"too long":              {200, `{"success":true,"errors":[],"messages":[],"result":"` + strings.Repeat("x", 5<<20) + `"}`, "", provision.Busy, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, z := start(t, sandbox.Options{})
			h := http.Header{"Cf-Ray": {"ray-1"}}
			if tt.retry != "" {
				h.Set("Retry-After", tt.retry)
			}
			s.Faults.Set(onRecords(standin.Action{Status: tt.status, Body: tt.body, Header: h}))
			_, err := z.Create(t.Context(), acme)
			var e *provision.Error
			if provision.ClassOf(err) != tt.want || !errors.As(err, &e) || !strings.Contains(provision.NextAction(err), tt.next) {
				t.Fatalf("Create = %v (%s; %s), want %s; %s", err, provision.ClassOf(err), provision.NextAction(err), tt.want, tt.next)
			}
			if name == "too long" && !strings.Contains(err.Error(), "more than") {
				t.Errorf("error = %v, want one that says so", err)
			}
			if name != "too long" && e.RequestID != "ray-1" {
				t.Errorf("RequestID = %q, want ray-1", e.RequestID)
			}
			if strings.ContainsAny(err.Error(), "\n<") || strings.Contains(err.Error(), token) || len(err.Error()) > 500 {
				t.Errorf("error is not a line for people: %v", err)
			}
			if n := len(s.Calls()); n != 2 {
				t.Errorf("%d calls, want one for the zone and one for the record: %v", n, s.Calls())
			}
		})
	}
}

// An answer that is lost is not failed: the caller looks, and finds what was done.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	s, z := start(t, sandbox.Options{})
	ctx := t.Context()
	s.Faults.Set(onRecords(standin.Action{Lose: true}))
	if _, err := z.Create(ctx, acme); provision.ClassOf(err) != provision.Busy || strings.Contains(err.Error(), "http://") {
		t.Errorf("Create = %v, want busy", err)
	}
	if n := len(s.Records()); n != 1 {
		t.Fatalf("%d records, want 1", n)
	}
	made := acme
	made.ID, made.Content, made.CreatedOn = s.Records()[0].ID, "192.0.2.2", s.Records()[0].CreatedOn
	if _, err := z.Update(ctx, made); provision.ClassOf(err) != provision.Busy || s.Records()[0].Content != made.Content {
		t.Errorf("Update = %v, want busy", err)
	}
	s.Faults.Set(nil)
	if _, err := z.Create(ctx, made); provision.ClassOf(err) != provision.Conflict {
		t.Errorf("Create again = %v, want conflict", err)
	}
	if got, err := z.Records(ctx, acme.Name); err != nil || len(got) != 1 || got[0] != made {
		t.Errorf("Records = %+v, %v, want %+v", got, err, made)
	}
	s.Faults.Set(onRecords(standin.Action{Lose: true}))
	if err := z.Delete(ctx, made); provision.ClassOf(err) != provision.Busy || len(s.Records()) != 0 {
		t.Errorf("Delete = %v, want busy", err)
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	s, z := start(t, sandbox.Options{})
	z.Timeout = 50 * time.Millisecond
	s.Faults.Set(onRecords(standin.Action{Delay: time.Minute}))
	if _, err := z.Records(t.Context(), acme.Name); provision.ClassOf(err) != provision.Busy || !strings.Contains(err.Error(), "within 50ms") {
		t.Errorf("Records of a server that hangs = %v, want busy", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	z.Timeout = time.Minute
	s.Faults.Set(onRecords(standin.Action{Before: cancel, Delay: time.Minute}))
	if _, err := z.Create(ctx, acme); provision.ClassOf(err) != provision.Cancelled {
		t.Errorf("Create, cancelled = %v, want cancelled", err)
	}
	z = &cloudflare.Zone{BaseURL: "http://127.0.0.1:1", Token: token, ID: "1"}
	if _, err := z.Name(t.Context()); provision.ClassOf(err) != provision.Busy {
		t.Errorf("Name at a closed port = %v, want busy", err)
	}
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(tls.Close)
	z = &cloudflare.Zone{BaseURL: tls.URL, Token: token, ID: "1"}
	if _, err := z.Name(t.Context()); provision.ClassOf(err) != provision.Internal {
		t.Errorf("Name at a server with an unknown certificate = %v, want internal", err)
	}
}

// The token goes nowhere but to the API.
func TestRedirect(t *testing.T) {
	t.Parallel()
	var asked bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	t.Cleanup(other.Close)
	s, z := start(t, sandbox.Options{})
	s.Faults.Set(onRecords(standin.Action{Status: 307, Header: http.Header{"Location": {other.URL}}}))
	z.HTTP = &http.Client{}
	if _, err := z.Records(t.Context(), acme.Name); provision.ClassOf(err) != provision.Internal || asked {
		t.Errorf("Records = %v, redirect followed: %v, want internal and not followed", err, asked)
	}
}

// The pipeline's step makes one record, though the answer to its making is lost.
func TestTenantDNS(t *testing.T) {
	t.Parallel()
	s, z := start(t, sandbox.Options{})
	lost := false
	s.Faults.Set(func(r *http.Request) standin.Action {
		lose := r.Method == http.MethodPost && !lost
		lost = lost || lose
		return standin.Action{Lose: lose}
	})
	run := &pipeline.Run{
		Job:  provision.Job{ID: "job-1", TenantID: "acme", CanonicalHostname: acme.Name},
		Node: provision.Node{ID: "hz-sg-1", Host: acme.Content},
	}
	step := pipeline.TenantDNS(z, pipeline.DNSPolicy{Proxied: true})
	if _, err := step.Do(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	posts := slices.DeleteFunc(s.Calls(), func(c string) bool { return !strings.HasPrefix(c, "POST") })
	if len(posts) != 1 || len(s.Records()) != 1 || len(run.Records) != 1 || run.Records[0].ID != s.Records()[0].ID {
		t.Errorf("%d POSTs, zone %+v, run %+v, want one record", len(posts), s.Records(), run.Records)
	}
}
