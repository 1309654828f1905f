package server_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// Whoever has no key gets a new tenant of a tier that costs nothing, and learns nothing of
// others.
func TestPublicTenants(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.PublicPerMinute = -1
	base, cp := start(t, c)
	_, err := cp.Enqueue(t.Context(), controlplane.Order{TenantID: "theirs", Slug: "theirs"})
	must(t, err)
	for _, test := range []struct {
		name, body, authorization string
		status                    int
		want                      string
	}{
		{"free", `{"subdomain_slug":"one","plan_tier":"free"}`, "", 202, "one.example.com"},
		{"basic", `{"subdomain_slug":"two"}`, "", 202, "two.example.com"},
		{"an id of one's own", `{"subdomain_slug":"three","tenant_id":"mine-3"}`, "", 202, "mine-3"},
		{"a paid tier", `{"subdomain_slug":"four","plan_tier":"professional"}`, "", 403, "Stripe checkout"},
		{"a dedicated tier", `{"subdomain_slug":"four","tier":"enterprise"}`, "", 403, "Stripe checkout"},
		{"a paid tier with the key", `{"subdomain_slug":"four","plan_tier":"professional"}`, "Bearer " + key, 202, "four.example.com"},
		{"a wrong key", `{"subdomain_slug":"five"}`, "Bearer x" + key, 401, "INTERNAL_API_KEY"},
		{"another's tenant", `{"subdomain_slug":"five","tenant_id":"theirs"}`, "", 409, ""},
		{"another's tenant with its slug", `{"subdomain_slug":"theirs","tenant_id":"theirs"}`, "", 409, ""},
		{"another's slug", `{"subdomain_slug":"theirs"}`, "", 409, "is taken"},
	} {
		resp, got := do(t, "POST", base+"/v1/tenants", test.body, "Authorization", test.authorization)
		if resp.StatusCode != test.status || !strings.Contains(got, test.want) {
			t.Errorf("%s: %d %s, want %d with %s", test.name, resp.StatusCode, got, test.status, test.want)
		}
		if test.status == 409 && (strings.Contains(got, "job_") || strings.Contains(got, "Pending")) {
			t.Errorf("%s: the answer tells of another's job: %s", test.name, got)
		}
	}
	// A tenant that has ended is not anybody's either.
	jobs, err := cp.Jobs(t.Context(), controlplane.JobFilter{TenantID: "theirs"})
	must(t, err)
	must(t, cp.Complete(t.Context(), provision.Completion{JobID: jobs[0].ID, TenantID: "theirs", Status: provision.JobFailed}))
	if resp, got := do(t, "POST", base+"/v1/tenants", `{"subdomain_slug":"theirs","tenant_id":"theirs"}`, "Authorization", ""); resp.StatusCode != 409 {
		t.Errorf("another's tenant whose job has failed: %d %s, want 409", resp.StatusCode, got)
	}
	// An order that was answered is answered again, and only to whom it was answered.
	body := `{"subdomain_slug":"six","tenant_id":"mine-6"}`
	_, first := do(t, "POST", base+"/v1/tenants", body, "Authorization", "", "Idempotency-Key", "k")
	resp, again := do(t, "POST", base+"/v1/tenants", body, "Authorization", "", "Idempotency-Key", "k")
	if resp.StatusCode != 202 || again != first || resp.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("again: %d %s, want %s", resp.StatusCode, again, first)
	}
	if resp, got := do(t, "POST", base+"/v1/tenants", body, "Idempotency-Key", "k"); resp.StatusCode != 409 {
		t.Errorf("another caller's key: %d %s, want 409", resp.StatusCode, got)
	}
}

func TestPublicTiers(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.PublicTiers = []placement.Tier{placement.Free}
	base, _ := start(t, c)
	if resp, got := do(t, "POST", base+"/v1/tenants", `{"subdomain_slug":"one"}`, "Authorization", ""); resp.StatusCode != 403 || !strings.Contains(got, "basic is not among") {
		t.Errorf("basic where free alone is public: %d %s", resp.StatusCode, got)
	}
}

// All addresses together have an allowance, which only orders that can be taken use up.
func TestRateLimitOfAll(t *testing.T) {
	t.Parallel()
	c := config(t)
	var passed atomic.Int64 // ns
	begin := time.Now()
	c.Now = func() time.Time { return begin.Add(time.Duration(passed.Load())) }
	c.PublicPerHour = 3
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	base, _ := start(t, c)
	n := 0
	order := func(slug, authorization string, want int, header ...string) {
		t.Helper()
		n++
		resp, got := do(t, "POST", base+"/v1/tenants", fmt.Sprintf(`{"subdomain_slug":%q}`, slug), append([]string{"Authorization", authorization,
			"X-Forwarded-For", fmt.Sprintf("2001:db8:%x::1", n)}, header...)...)
		if resp.StatusCode != want {
			t.Errorf("order %d of %q: %d %s, want %d", n, slug, resp.StatusCode, got, want)
		}
		if after := resp.Header.Get("Retry-After"); want == 503 && after != "1200" {
			t.Errorf("order %d of %q: Retry-After %q, want 1200", n, slug, after)
		}
	}
	again := []string{"X-Forwarded-For", "203.0.113.1", "Idempotency-Key", "k"}
	for i := range 3 {
		order("WWW", "", 422)
		order(fmt.Sprint("slug-", i), "", 202, again...)
		order(fmt.Sprint("slug-", i), "", 202, again...)
		order(fmt.Sprint("slug-", i), "", 409)
		again[3] += "k"
	}
	order("slug-3", "", 503)
	again[3] = "k"
	order("slug-0", "", 202, again...) // it was answered before
	order("slug-3", "Bearer "+key, 202)
	passed.Store(int64(20 * time.Minute))
	order("slug-4", "", 202)
	order("slug-5", "", 503)
}

// Each address has its own allowance, and whoever bears the key any.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	c := config(t)
	var passed atomic.Int64 // ns
	begin := time.Now()
	c.Now = func() time.Time { return begin.Add(time.Duration(passed.Load())) }
	c.PublicPerMinute, c.PublicBurst = 6, 2
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}
	base, _ := start(t, c)
	n := 0
	order := func(authorization, forwarded string) (int, string) {
		n++
		resp, _ := do(t, "POST", base+"/v1/tenants", fmt.Sprintf(`{"subdomain_slug":"slug-%d"}`, n), "Authorization", authorization, "X-Forwarded-For", forwarded)
		return resp.StatusCode, resp.Header.Get("Retry-After")
	}
	for range 2 {
		if status, _ := order("", "203.0.113.1"); status != 202 {
			t.Fatalf("within the allowance: %d", status)
		}
	}
	if status, after := order("", "203.0.113.1"); status != 429 || after != "10" {
		t.Errorf("beyond the allowance: %d, Retry-After %q, want 429 and 10", status, after)
	}
	for name, test := range map[string]struct {
		forwarded string
		same      bool // is 203.0.113.1
	}{
		"another address":               {"203.0.113.2", false},
		"what it says of itself":        {"198.51.100.9, 203.0.113.1", true},
		"through two proxies":           {"203.0.113.1, 10.1.2.3", true},
		"through two headers":           {"203.0.113.1\n10.1.2.3", true},
		"through an IPv6 proxy":         {"203.0.113.1, 2001:db8:ffff::1", true},
		"through somebody else's proxy": {"203.0.113.1, 192.0.2.1", false},
		"as IPv6 has it":                {"::ffff:203.0.113.1", true},
		"with a port":                   {"203.0.113.1:4711", true},
	} {
		status, _ := order("", test.forwarded)
		if (status == 429) != test.same {
			t.Errorf("%s (%s): %d, want it to be the same caller: %t", name, test.forwarded, status, test.same)
		}
	}
	// One customer has a /64.
	for i, want := range []int{202, 202, 429} {
		if status, _ := order("", "2001:db8:1:2::"+strconv.Itoa(i+1)); status != want {
			t.Errorf("address %d of a network: %d, want %d", i+1, status, want)
		}
	}
	if status, _ := order("", "2001:db8:1:3::1"); status != 202 {
		t.Errorf("the next network: %d", status)
	}
	for range 5 {
		if status, _ := order("Bearer "+key, "203.0.113.1"); status != 202 {
			t.Errorf("with the key: %d", status)
		}
	}
	if status, _ := order("Bearer wrong", "203.0.113.1"); status != 429 {
		t.Errorf("a wrong key: %d, want it limited, too", status)
	}
	passed.Store(int64(10 * time.Second))
	if status, _ := order("", "203.0.113.1"); status != 202 {
		t.Errorf("after Retry-After: %d", status)
	}
	if status, _ := order("", "203.0.113.1"); status != 429 {
		t.Errorf("after Retry-After, twice: %d", status)
	}
	_, exposition := do(t, "GET", base+"/metrics", "", "Authorization", "")
	if !strings.Contains(exposition, "controlplane_rate_limited_total 10\n") {
		t.Errorf("the metrics do not say so: %s", grep(exposition, "rate_limited"))
	}
}

// Without a proxy of ours nobody is believed.
func TestRateLimitWithoutProxies(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.PublicPerMinute, c.PublicBurst = 1, 1
	base, _ := start(t, c)
	for i, want := range []int{202, 429} {
		resp, got := do(t, "POST", base+"/v1/tenants", fmt.Sprintf(`{"subdomain_slug":"slug-%d"}`, i), "Authorization", "", "X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i))
		if resp.StatusCode != want {
			t.Errorf("order %d: %d %s, want %d", i, resp.StatusCode, got, want)
		}
	}
}

// grep returns the lines that hold the word.
func grep(text, word string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
