package actions_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pregoi/provision-tenant/internal/actions"
)

func TestIDToken(t *testing.T) {
	t.Parallel()
	refuse := false
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse || r.URL.Query().Get("audience") != "urn:pulumi:org:acme" || r.Header.Get("Authorization") != "Bearer request-token" {
			http.Error(w, "no: request-token", http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(`{"value":"the-id-token"}`))
	}))
	defer service.Close()

	gha, _ := onRunner()
	if _, err := gha.IDToken(t.Context(), "urn:pulumi:org:acme"); !errors.Is(err, actions.ErrNoIDToken) {
		t.Errorf("without the permission: %v, want ErrNoIDToken", err)
	}
	gha, log := onRunner("ACTIONS_ID_TOKEN_REQUEST_URL", service.URL+"/?x=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token")
	token, err := gha.IDToken(t.Context(), "urn:pulumi:org:acme")
	if err != nil || token != "the-id-token" {
		t.Fatalf("IDToken() = %q, %v", token, err)
	}
	if !strings.Contains(log.String(), "::add-mask::the-id-token\n") {
		t.Errorf("the token is not masked:\n%s", log)
	}
	refuse = true
	if _, err := gha.IDToken(t.Context(), "urn:pulumi:org:acme"); err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "request-token") {
		t.Errorf("refused: %v, want the status and nothing of the body", err)
	}
}
