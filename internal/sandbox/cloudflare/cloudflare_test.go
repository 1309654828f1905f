package cloudflare_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	vendor "github.com/cloudflare/cloudflare-go"
	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

const token = "the-token"

func newServer(o cloudflare.Options) *cloudflare.Server {
	o.Token, o.ZoneName = token, "pregoi.com"
	return cloudflare.New(o)
}

// A caller speaks to a stand-in without a client's help.
type caller struct {
	*testing.T
	url, token string
}

func serve(t *testing.T, h http.Handler) caller {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return caller{t, server.URL, token}
}

// An answer is what came back: the status, and the envelope.
type answer struct {
	Status int
	Header http.Header
	Result json.RawMessage `json:"result"`
	Errors []struct {
		Code    int
		Message string
		Chain   []struct {
			Code    int
			Message string
		} `json:"error_chain"`
	} `json:"errors"`
	Success bool `json:"success"`
	Info    struct {
		Page, Count int
		Total       int `json:"total_count"`
		Pages       int `json:"total_pages"`
	} `json:"result_info"`
}

func (c caller) do(method, path, body string) answer {
	c.Helper()
	r, err := http.NewRequestWithContext(c.Context(), method, c.url+"/client/v4"+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	a := answer{Status: resp.StatusCode, Header: resp.Header}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		c.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
	if a.Success != (a.Status == 200) || a.Success != (len(a.Errors) == 0) || a.Header.Get("Cf-Ray") == "" {
		c.Errorf("%s %s: not the vendor's envelope: %d %s", method, path, a.Status, text)
	}
	return a
}

// Its answers are those of the vendor's document. (An answer of 4xx cannot be held against
// it: the document wants a result and none, success and failure, at once.)
func TestContract(t *testing.T) {
	t.Parallel()
	s := newServer(cloudflare.Options{MaxPerPage: 2})
	c := serve(t, contract.Handler(t, "cloudflare.json", "/client/v4", s.Handler()))
	zone := "/zones/" + s.ZoneID()
	records := zone + "/dns_records"
	for _, r := range [][3]string{
		{"GET", "/user/tokens/verify", ""},
		{"GET", "/zones?name=pregoi.com&per_page=50", ""},
		{"GET", zone, ""},
		{"GET", records + "?name=acme.pregoi.com&page=1&per_page=100", ""},
		{"POST", records, `{"type":"A","name":"acme","content":"192.0.2.1","ttl":1,"proxied":true,"comment":"x","tags":[]}`},
		{"POST", records, `{"type":"A","name":"acme","content":"192.0.2.2","ttl":300}`},
		{"POST", records, `{"type":"AAAA","name":"acme","content":"2001:db8::1","ttl":1}`},
		{"POST", records, `{"type":"CNAME","name":"www","content":"acme.pregoi.com","ttl":1}`},
		{"POST", records, `{"type":"TXT","name":"acme","content":"text","ttl":60}`},
		{"GET", records, ""},
	} {
		if a := c.do(r[0], r[1], r[2]); a.Status != 200 {
			t.Errorf("%s %s: %d %v", r[0], r[1], a.Status, a.Errors)
		}
	}
	first := records + "/" + s.Records()[0].ID
	c.do("GET", first, "")
	c.do("PATCH", first, `{"type":"A","name":"acme","content":"192.0.2.3","ttl":1,"tags":[]}`)
	c.do("PUT", first, `{"type":"A","name":"acme","content":"192.0.2.4","ttl":1}`)
	c.do("DELETE", first, "{}")
}

// The vendor's own client works against it.
func TestVendorsClient(t *testing.T) {
	t.Parallel()
	s := newServer(cloudflare.Options{})
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	api, err := vendor.NewWithAPIToken(token, vendor.BaseURL(server.URL+"/client/v4"), vendor.UsingRateLimit(1000))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if v, err := api.VerifyAPIToken(ctx); err != nil || v.Status != "active" {
		t.Errorf("VerifyAPIToken = %+v, %v", v, err)
	}
	zones, err := api.ListZonesContext(ctx, vendor.WithZoneFilters("pregoi.com", "", ""))
	if err != nil || len(zones.Result) != 1 || zones.Result[0].ID != s.ZoneID() {
		t.Fatalf("ListZones = %+v, %v, want the zone %s", zones.Result, err, s.ZoneID())
	}
	zone := vendor.ZoneIdentifier(zones.Result[0].ID)
	if z, err := api.ZoneDetails(ctx, s.ZoneID()); err != nil || z.Name != "pregoi.com" {
		t.Errorf("ZoneDetails = %+v, %v", z, err)
	}
	proxied := true
	made, err := api.CreateDNSRecord(ctx, zone, vendor.CreateDNSRecordParams{
		Type: "A", Name: "Acme", Content: "192.0.2.1", TTL: 300, Proxied: &proxied, Comment: "prego tenant=acme",
	})
	if err != nil || made.Name != "acme.pregoi.com" || made.TTL != 1 {
		t.Fatalf("CreateDNSRecord = %+v, %v, want acme.pregoi.com with an automatic TTL", made, err)
	}
	changed, err := api.UpdateDNSRecord(ctx, zone, vendor.UpdateDNSRecordParams{
		ID: made.ID, Type: "A", Name: "acme.pregoi.com", Content: "192.0.2.2", TTL: 1, Proxied: new(bool), Tags: []string{},
	})
	if err != nil || changed.Content != "192.0.2.2" || *changed.Proxied || changed.Comment != "prego tenant=acme" {
		t.Errorf("UpdateDNSRecord = %+v, %v, want another address, no proxy, the same comment", changed, err)
	}
	got, err := api.GetDNSRecord(ctx, zone, made.ID)
	if diff := cmp.Diff(changed, got); err != nil || diff != "" {
		t.Errorf("GetDNSRecord: %v (-want +got):\n%s", err, diff)
	}
	list, _, err := api.ListDNSRecords(ctx, zone, vendor.ListDNSRecordsParams{Name: "acme.pregoi.com", Type: "A"})
	if err != nil || len(list) != 1 {
		t.Errorf("ListDNSRecords = %+v, %v, want one", list, err)
	}
	if err := api.DeleteDNSRecord(ctx, zone, made.ID); err != nil || len(s.Records()) != 0 {
		t.Errorf("DeleteDNSRecord = %v, left %+v", err, s.Records())
	}
	if err := api.DeleteDNSRecord(ctx, zone, made.ID); err == nil || err.Error() != "Record does not exist. (81044)" {
		t.Errorf("DeleteDNSRecord again = %v", err)
	}
}

// What a record may be, one after the other in one zone.
func TestRules(t *testing.T) {
	t.Parallel()
	s := newServer(cloudflare.Options{MaxRecords: 9})
	c := serve(t, s.Handler())
	path := "/zones/" + s.ZoneID() + "/dns_records"
	for _, tt := range []struct {
		body string
		code int // 0: it is made
		name string
	}{
		{`{"type":"A","name":"acme","content":"192.0.2.1","ttl":1}`, 0, "acme.pregoi.com"},
		{`{"type":"A","name":"ACME.pregoi.com.","content":"192.0.2.1","ttl":60,"comment":"x"}`, 81058, ""},
		{`{"type":"A","name":"acme.pregoi.com","content":"192.0.2.2"}`, 0, "acme.pregoi.com"}, // round robin
		{`{"type":"AAAA","name":"acme","content":"2001:DB8:0::1"}`, 0, "acme.pregoi.com"},
		{`{"type":"AAAA","name":"acme","content":"2001:db8::1"}`, 81058, ""},
		{`{"type":"CNAME","name":"acme","content":"a.example"}`, 81053, ""},
		{`{"type":"TXT","name":"acme","content":"text"}`, 0, "acme.pregoi.com"},
		{`{"type":"CNAME","name":"www","content":"acme.pregoi.com"}`, 0, "www.pregoi.com"},
		{`{"type":"CNAME","name":"www","content":"b.example"}`, 81053, ""},
		{`{"type":"A","name":"www","content":"192.0.2.1"}`, 81054, ""},
		{`{"type":"A","name":"acme.example.com","content":"192.0.2.1"}`, 0, "acme.example.com.pregoi.com"},
		{`{"type":"A","name":"@","content":"192.0.2.1"}`, 0, "pregoi.com"},
		{`{"type":"A","name":"*.acme","content":"192.0.2.1"}`, 0, "*.acme.pregoi.com"},
		{`{"type":"A","name":"a","content":"2001:db8::1"}`, 9005, ""},
		{`{"type":"AAAA","name":"a","content":"192.0.2.1"}`, 9006, ""},
		{`{"type":"CNAME","name":"a","content":"-"}`, 9007, ""},
		{`{"type":"TXT","name":"a","content":"x","proxied":true}`, 9004, ""},
		{`{"type":"TXT","name":"a","content":""}`, 9101, ""},
		{`{"type":"AX","name":"a","content":"x"}`, 9004, ""},
		{`{"type":"A","name":"","content":"192.0.2.1"}`, 9000, ""},
		{`{"type":"A","name":"a..b","content":"192.0.2.1"}`, 9000, ""},
		{`{"type":"A","name":"` + strings.Repeat("a", 64) + `","content":"192.0.2.1"}`, 9000, ""},
		{`{"type":"A","name":"a","content":"192.0.2.1","ttl":59}`, 9021, ""},
		{`{"type":"A","name":"a","content":"192.0.2.1","ttl":86401}`, 9021, ""},
		{`{"type":"A","name":"a","content":"192.0.2.1","comment":"` + strings.Repeat("é", 101) + `"}`, 9313, ""},
		{`{"type":"A","name":"a","content":"192.0.2.1","comment":"a\nb"}`, 9314, ""},
		{`{"type":"A","name":"a","content":"192.0.2.1","tags":["a:b"]}`, 9300, ""},
		{`{"type":"A",`, 9207, ""},
		{`{"type":"A","name":"a","content":"192.0.2.1","comment":"` + strings.Repeat("é", 100) + `"}`, 0, "a.pregoi.com"},
		{`{"type":"A","name":"b","content":"192.0.2.1"}`, 81045, ""},
	} {
		a := c.do("POST", path, tt.body)
		var made cloudflare.Record
		code := 0
		if len(a.Errors) > 0 {
			if code = a.Errors[0].Code; len(a.Errors[0].Chain) > 0 {
				code = a.Errors[0].Chain[0].Code
			}
		} else if err := json.Unmarshal(a.Result, &made); err != nil {
			t.Fatal(err)
		}
		if code != tt.code || made.Name != tt.name {
			t.Errorf("POST %s = %d, name %q, want %d, %q", tt.body, code, made.Name, tt.code, tt.name)
		}
	}
	if n := len(s.Records()); n != 9 {
		t.Errorf("the zone has %d records, want 9", n)
	}
}

func TestChange(t *testing.T) {
	t.Parallel()
	s := newServer(cloudflare.Options{})
	c := serve(t, s.Handler())
	path := "/zones/" + s.ZoneID() + "/dns_records"
	for i := 1; i <= 2; i++ {
		c.do("POST", path, fmt.Sprintf(`{"type":"A","name":"a","content":"192.0.2.%d","comment":"mine","ttl":120}`, i))
	}
	first := path + "/" + s.Records()[0].ID
	if a := c.do("PATCH", first, `{"content":"192.0.2.2"}`); a.Status != 400 || a.Errors[0].Code != 81058 {
		t.Errorf("PATCH to another's content = %d %v, want 81058", a.Status, a.Errors)
	}
	if a := c.do("PATCH", first, `{"content":"192.0.2.3"}`); a.Status != 200 || *s.Records()[0].Comment != "mine" || s.Records()[0].TTL != 120 {
		t.Errorf("PATCH = %d %v, %+v, want the rest kept", a.Status, a.Errors, s.Records()[0])
	}
	if a := c.do("PATCH", first, `{"comment":"still mine"}`); a.Status != 200 || *s.Records()[0].Comment != "still mine" {
		t.Errorf("PATCH of the comment = %d %v, %+v", a.Status, a.Errors, s.Records()[0])
	}
	if a := c.do("PUT", first, `{"type":"A","name":"a","content":"192.0.2.4"}`); a.Status != 200 || s.Records()[0].Comment != nil || s.Records()[0].TTL != 1 {
		t.Errorf("PUT = %d %v, %+v, want the rest reset", a.Status, a.Errors, s.Records()[0])
	}
	for _, path := range []string{path + "/" + strings.Repeat("0", 32), path + "/nonsense", "/zones/pregoi.com/dns_records", "/nothing"} {
		a := c.do("DELETE", path, "")
		want := 7003
		if strings.HasSuffix(path, "0") {
			want = 81044
		}
		if a.Status != 404 || a.Errors[0].Code != want {
			t.Errorf("DELETE %s = %d %v, want 404 %d", path, a.Status, a.Errors, want)
		}
	}
}

func TestListRecords(t *testing.T) {
	t.Parallel()
	s := newServer(cloudflare.Options{MaxPerPage: 2})
	c := serve(t, s.Handler())
	path := "/zones/" + s.ZoneID() + "/dns_records"
	for i := range 5 {
		c.do("POST", path, fmt.Sprintf(`{"type":"A","name":"n%d","content":"192.0.2.1","comment":"Owner %d"}`, i/2, i))
		c.do("POST", path, fmt.Sprintf(`{"type":"TXT","name":"n%d","content":"t%d"}`, i/2, i))
	}
	for query, want := range map[string][3]int{ // on this page, of all, pages
		"":                                  {2, 8, 4}, // identical ones are refused
		"?per_page=100&page=4":              {2, 8, 4},
		"?page=9":                           {0, 8, 4},
		"?name=n1.pregoi.com":               {2, 3, 2},
		"?name=N1.pregoi.com&type=A":        {1, 1, 1},
		"?name.exact=n1.pregoi.com":         {2, 3, 2},
		"?name=n1":                          {0, 0, 0},
		"?name.startswith=n&content=t4":     {1, 1, 1},
		"?comment=owner+0":                  {1, 1, 1},
		"?comment.contains=owner":           {2, 3, 2},
		"?comment.absent=":                  {2, 5, 3},
		"?type=A&content=t4&match=any":      {2, 4, 2},
		"?proxied=true":                     {0, 0, 0},
		"?name=n1.pregoi.com&comment=other": {0, 0, 0},
	} {
		a := c.do("GET", path+query, "")
		if got := [3]int{a.Info.Count, a.Info.Total, a.Info.Pages}; got != want {
			t.Errorf("GET %s: count, total and pages %v, want %v", query, got, want)
		}
	}
	if a := c.do("GET", path+"?page=0", ""); a.Status != 400 {
		t.Errorf("page 0: %d, want 400", a.Status)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	s := newServer(cloudflare.Options{ReadToken: "read-only"})
	c := serve(t, s.Handler())
	zone := "/zones/" + s.ZoneID()
	other := "/zones/" + strings.Repeat("0", 32)
	for _, tt := range []struct {
		token, method, path string
		status, code        int
	}{
		{"", "GET", zone, 400, 9106},
		{"two words", "GET", zone, 400, 6003},
		{"wrong", "GET", zone, 403, 9109},
		{"wrong", "GET", "/user/tokens/verify", 401, 1000},
		{token, "GET", other, 403, 9109},
		{token, "GET", other + "/dns_records", 403, 10000},
		{"read-only", "GET", zone + "/dns_records", 200, 0},
		{"read-only", "POST", zone + "/dns_records", 403, 10000},
		{token, "GET", "/user/tokens/verify", 200, 0},
	} {
		c.token = tt.token
		a := c.do(tt.method, tt.path, "")
		if a.Status != tt.status || tt.code != 0 && a.Errors[0].Code != tt.code {
			t.Errorf("%s %s with token %q = %d %v, want %d %d", tt.method, tt.path, tt.token, a.Status, a.Errors, tt.status, tt.code)
		}
	}
}

// Who asks too often gets no answer for a whole window, however quiet it is meanwhile.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := newServer(cloudflare.Options{RateLimit: 2, Now: func() time.Time { return now }})
	c := serve(t, s.Handler())
	for i, tt := range []struct {
		after  time.Duration
		status int
		retry  string
	}{
		{0, 200, ""}, {10 * time.Second, 200, ""}, {0, 429, "300"}, {4 * time.Minute, 429, "60"},
		{59 * time.Second, 429, "1"}, {time.Second, 200, ""}, {0, 200, ""}, {0, 429, "300"},
	} {
		now = now.Add(tt.after)
		a := c.do("GET", "/user/tokens/verify", "")
		if a.Status != tt.status || a.Header.Get("Retry-After") != tt.retry || a.Status == 429 && a.Errors[0].Code != 971 {
			t.Errorf("request %d: %d, Retry-After %q, %v, want %d, %q", i+1, a.Status, a.Header.Get("Retry-After"), a.Errors, tt.status, tt.retry)
		}
	}
}

func TestFaultsAndCalls(t *testing.T) {
	t.Parallel()
	s := newServer(cloudflare.Options{})
	c := serve(t, s.Handler())
	s.Faults.Set(func(r *http.Request) standin.Action {
		return standin.Action{Status: 502, Body: `{"success":false,"errors":[{"code":1}]}`, Header: http.Header{"Cf-Ray": {"x"}}}
	})
	if a := c.do("GET", "/zones", ""); a.Status != 502 {
		t.Errorf("with a fault: %d, want 502", a.Status)
	}
	s.Faults.Set(nil)
	if a := c.do("GET", "/zones?name=other.com", ""); a.Status != 200 || string(a.Result) != "[]" {
		t.Errorf("zones of another name: %d %s, want none", a.Status, a.Result)
	}
	if diff := cmp.Diff([]string{"GET /client/v4/zones", "GET /client/v4/zones"}, s.Calls()); diff != "" {
		t.Errorf("Calls (-want +got):\n%s", diff)
	}
}

func TestEdge(t *testing.T) {
	t.Parallel()
	s := newServer(cloudflare.Options{})
	c := serve(t, s.Handler())
	path := "/zones/" + s.ZoneID() + "/dns_records"
	c.do("POST", path, `{"type":"A","name":"acme","content":"192.0.2.1"}`)
	c.do("POST", path, `{"type":"CNAME","name":"alias","content":"acme.pregoi.com"}`)
	c.do("POST", path, `{"type":"CNAME","name":"loop","content":"loop.pregoi.com"}`)
	c.do("POST", path, `{"type":"A","name":"dead","content":"192.0.2.9"}`)
	c.do("POST", path, `{"type":"A","name":"two","content":"192.0.2.1"}`)
	c.do("POST", path, `{"type":"A","name":"two","content":"192.0.2.2"}`)
	edge := s.Edge(func(ip string) (string, bool) { return "hello from " + ip, ip != "192.0.2.9" })
	ask := func(host string) (int, string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		edge.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	for host, want := range map[string]int{
		"acme.pregoi.com": 200, "ACME.pregoi.com.:8080": 200, "alias.pregoi.com": 200,
		"loop.pregoi.com": 530, "nobody.pregoi.com": 530, "127.0.0.1:80": 530, "dead.pregoi.com": 522,
	} {
		if status, body := ask(host); status != want || want == 200 && body != "hello from 192.0.2.1" {
			t.Errorf("%s: %d %q, want %d", host, status, body, want)
		}
	}
	_, one := ask("two.pregoi.com")
	_, two := ask("two.pregoi.com")
	if one == two {
		t.Errorf("a name with two addresses answers twice from the same: %q", one)
	}
}
