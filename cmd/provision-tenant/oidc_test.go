package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pregoi/provision-tenant/internal/actions"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
)

// TestExchangeCancelled stops the run while GitHub's service, and then Pulumi's, does not
// answer: it was cancelled, and nobody has failed.
func TestExchangeCancelled(t *testing.T) {
	t.Parallel()
	for _, silent := range []string{"/id", "/api/oauth/token"} {
		ctx, cancel := context.WithCancel(t.Context())
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != silent {
				_, _ = io.WriteString(w, `{"value":"an-id-token"}`)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			cancel()
			<-r.Context().Done()
		}))
		gha := &actions.Action{Getenv: func(name string) string {
			return map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": srv.URL + "/id?a=b", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-request"}[name]
		}}
		_, err := exchange(ctx, gha, pulumi.Exchange{Organization: "acme"}, srv.URL)
		if provision.ClassOf(err) != provision.Cancelled {
			t.Errorf("%s does not answer: %v (%s), want it cancelled", silent, err, provision.ClassOf(err))
		}
		cancel()
		srv.Close()
	}
}
