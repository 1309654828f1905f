package server_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

const secret = "whsec_of_the_endpoint"

func now() time.Time { return time.Now() }

// sign is Stripe's signature, by its documentation and not by its library.
// https://docs.stripe.com/webhooks#verify-manually
func sign(secret string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.", at.Unix())
	mac.Write(body)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}

// checkout is a paid session's event, with changes to it in pairs of old and new text.
func checkout(session, metadata string, changes ...string) string {
	event := `{"id":"evt_` + session + `","object":"event","api_version":"2019-01-01","type":"checkout.session.completed",` +
		`"data":{"object":{"id":"` + session + `","object":"checkout.session","mode":"payment","payment_status":"paid",` +
		`"client_reference_id":null,"metadata":` + metadata + `}}}`
	return strings.NewReplacer(changes...).Replace(event)
}

func TestStripe(t *testing.T) {
	t.Parallel()
	c := config(t)
	var log bytes.Buffer
	c.StripeSecret, c.Log = secret, slog.New(slog.NewJSONHandler(&log, nil))
	base, cp := start(t, c)
	_, err := cp.Enqueue(t.Context(), controlplane.Order{TenantID: "other", Slug: "taken"})
	must(t, err)
	const acme = `{"tenant_id":"acme-1","subdomain_slug":"acme","plan_tier":"professional","region":"eu","company_name":"Acme","trace_id":"trace_pay"}`
	first := ""
	for _, test := range []struct {
		name, body string
		status     int
		want       string // in the answer
	}{
		{"paid", checkout("cs_1", acme), 200, `"tenant_id":"acme-1","trace_id":"trace_pay","status":"Pending","canonical_hostname":"acme.example.com"`},
		{"the same event again", checkout("cs_1", acme), 200, `"tenant_id":"acme-1"`},
		{"another event of the same session", checkout("cs_1", acme, "evt_cs_1", "evt_2", "completed", "async_payment_succeeded"), 200, `"tenant_id":"acme-1"`},
		{"a tenant with a job on its way", checkout("cs_2", acme), 409, "acme-1 has the job"},
		{"nothing to pay", checkout("cs_3", `{"subdomain_slug":"gift"}`, `"paid"`, `"no_payment_required"`), 200, "gift.example.com"},
		{"a reference for the tenant", checkout("cs_4", `{}`, "null", `"ref-1"`), 200, `"tenant_id":"ref-1"`},
		{"a reference that the buyer made up", checkout("cs_13", `{"plan_tier":"free"}`, "null", `"other"`), 409, "there is a tenant"},
		{"not paid yet", checkout("cs_5", `{"subdomain_slug":"later"}`, `"paid"`, `"unpaid"`), 200, "not paid yet"},
		{"a payment that came later", checkout("cs_5", `{"subdomain_slug":"later"}`, "completed", "async_payment_succeeded"), 200, "later.example.com"},
		{"a payment that failed", checkout("cs_6", `{"subdomain_slug":"never"}`, "completed", "async_payment_failed"), 200, "enqueue nothing"},
		{"a card that was stored", checkout("cs_7", `{"subdomain_slug":"card"}`, `"payment"`, `"setup"`), 200, "stores a card"},
		{"something else that is sold", checkout("cs_8", `{"sku":"t-shirt"}`), 200, "something else"},
		{"something else altogether", `{"id":"evt_9","object":"event","type":"invoice.paid","data":{"object":{}}}`, 200, "invoice.paid"},
		{"a slug that is taken", checkout("cs_10", `{"subdomain_slug":"taken","trace_id":"trace_refused"}`), 409, "is taken"},
		{"wrong metadata", checkout("cs_11", `{"tenant_id":"a b","subdomain_slug":"www","plan_tier":"gold","region":"mars"}`), 422,
			`"location":"body.data.object.metadata.plan_tier"`},
		{"no session", `{"id":"evt_12","object":"event","type":"checkout.session.completed","data":{"object":{}}}`, 422, "no checkout session"},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, got := do(t, "POST", base+"/webhooks/stripe", test.body, "Authorization", "", "Stripe-Signature", sign(secret, now(), []byte(test.body)))
			if resp.StatusCode != test.status || !strings.Contains(got, test.want) {
				t.Fatalf("%d %s, want %d with %s", resp.StatusCode, got, test.status, test.want)
			}
			if strings.Contains(test.body, `"cs_1"`) {
				if first == "" {
					first = got
				}
				if got != first {
					t.Errorf("%s, want the answer of the first delivery, %s", got, first)
				}
			}
		})
	}
	jobs, err := cp.Jobs(t.Context(), controlplane.JobFilter{TenantID: "acme-1"})
	if err != nil || len(jobs) != 1 || jobs[0].PlanTier != placement.Professional || jobs[0].Region != placement.EU {
		t.Errorf("jobs %+v, %v, want one of the paid tier and region", jobs, err)
	}
	// What was paid for and not made is told to operators.
	events, err := cp.Trace(t.Context(), "cs_10")
	if err != nil || len(events) != 1 || events[0].TraceID != "trace_refused" || events[0].Status != provision.Failed || !strings.Contains(events[0].Message, "is taken") {
		t.Errorf("trace of a refused checkout: %+v, %v", events, err)
	}
	if !strings.Contains(log.String(), `"session_id":"cs_10"`) || strings.Contains(log.String(), `"session_id":"cs_3"`) {
		t.Errorf("the log says %s", log.String())
	}
}

// Whoever does not know the secret enqueues nothing.
func TestStripeSignature(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.StripeSecret = secret
	base, cp := start(t, c)
	body := checkout("cs_1", `{"subdomain_slug":"acme"}`)
	good := sign(secret, now(), []byte(body))
	stamp, mac, _ := strings.Cut(good, ",")
	for name, test := range map[string]struct {
		header string
		status int
	}{
		"none":                       {"", 400},
		"of another secret":          {sign("whsec_another", now(), []byte(body)), 400},
		"of another body":            {sign(secret, now(), []byte(body+" ")), 400},
		"old":                        {sign(secret, now().Add(-6*time.Minute), []byte(body)), 400},
		"an old one with a new time": {fmt.Sprintf("t=%d,%s", now().Unix(), sign(secret, now().Add(-time.Hour), []byte(body))[13:]), 400},
		"without a time":             {mac, 400},
		"without a signature":        {stamp, 400},
		"of an older scheme":         {strings.Replace(good, "v1=", "v0=", 1), 400},
		"garbage":                    {"=,=,t=x", 400},
		"with another before it":     {stamp + ",v1=00," + mac, 200},
	} {
		resp, got := do(t, "POST", base+"/webhooks/stripe", body, "Authorization", "", "Stripe-Signature", test.header)
		if resp.StatusCode != test.status || strings.Contains(got, secret) {
			t.Errorf("a signature %s: %d %s, want %d", name, resp.StatusCode, got, test.status)
		}
	}
	if jobs, err := cp.Jobs(t.Context(), controlplane.JobFilter{}); err != nil || len(jobs) != 1 {
		t.Errorf("%d jobs, %v, want that of the good signature alone", len(jobs), err)
	}
	c.StripeSecret = ""
	base, _ = start(t, c)
	if resp, got := do(t, "POST", base+"/webhooks/stripe", body, "Stripe-Signature", sign("", now(), []byte(body))); resp.StatusCode != 503 ||
		!strings.Contains(got, "STRIPE_WEBHOOK_SECRET is not set") {
		t.Errorf("without a secret: %d %s, want 503", resp.StatusCode, got)
	}
}
