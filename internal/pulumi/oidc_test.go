package pulumi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
)

func TestExchange(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, scope, answer string
		status              int
		kind                string // of the token that is asked for
		want                string // the token, or what the error says
		class               provision.Class
	}{
		{"of the organisation", "", `{"access_token":"pul-short"}`, 200, "organization", "pul-short", ""},
		{"that may make stacks", "admin", `{"access_token":"pul-short"}`, 200, "organization", "pul-short", ""},
		{"of a team", "team:ops", `{"access_token":"pul-short"}`, 200, "team", "pul-short", ""},
		{"of a person", "user:ada", `{"access_token":"pul-short"}`, 200, "personal", "pul-short", ""},
		{"no policy", "", `{"code":401,"message":"Unauthorized: no policy allows this"}`, 401, "organization", "no policy allows this", provision.Denied},
		{"OAuth's words", "", `{"error":"invalid_request","error_description":"the issuer is not known"}`, 400, "organization", "issuer is not known", provision.Denied},
		{"no words for people", "", `{"message":"not \u001b[31mthis\u0007 \u202eone ` + strings.Repeat("é", 5000) + `"}`, 403, "organization", "acme: not this one éé", provision.Denied},
		{"broken", "", `<html>`, 502, "organization", "502", provision.Busy},
		{"no token in it", "", `{}`, 200, "organization", "200", provision.Busy},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var got map[string]any
				if err := json.NewDecoder(r.Body).Decode(&got); err != nil || r.Method+r.URL.Path != "POST/api/oauth/token" {
					t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
				}
				want := map[string]any{"audience": "urn:pulumi:org:acme", "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
					"subject_token_type": "urn:ietf:params:oauth:token-type:id_token", "scope": test.scope, "expiration": 600.0,
					"requested_token_type": "urn:pulumi:token-type:access_token:" + test.kind, "subject_token": "id-token"}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("request (-want +got):\n%s", d)
				}
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.answer))
			}))
			defer service.Close()
			e := pulumi.Exchange{Organization: "acme", Scope: test.scope, BackendURL: service.URL, Lifetime: 10 * time.Minute}
			got, err := e.Token(t.Context(), "id-token")
			if err != nil {
				got = err.Error()
			}
			if len(got) > 1000 || !strings.Contains(got, test.want) || strings.Contains(got, "id-token") || err != nil && provision.ClassOf(err) != test.class {
				t.Errorf("Token() = %q, class %q, want %q, class %q", got, provision.ClassOf(err), test.want, test.class)
			}
		})
	}
}

func TestExchangeRefusesWhatIsNoScope(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"team:", "team", "owner", "runner:x"} {
		if _, err := (pulumi.Exchange{Organization: "acme", Scope: scope}).Token(t.Context(), "x"); provision.ClassOf(err) != provision.Invalid {
			t.Errorf("scope %q: %v, want it refused", scope, err)
		}
	}
}
