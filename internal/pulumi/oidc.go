package pulumi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// An Exchange trades the ID token of a run for a short-lived access token of Pulumi Cloud,
// so that no long-lived one has to be kept as a secret. The organisation has to trust
// GitHub as an issuer first.
// https://www.pulumi.com/docs/reference/cloud-rest-api/oauth-token-exchange
type Exchange struct {
	Organization string
	// Scope is empty for a token of the organisation, "admin" for one that may make stacks
	// everywhere in it, "team:NAME" for one of a team, or "user:LOGIN" for one of a person.
	Scope      string
	BackendURL string        // https://… of a service of one's own; anything else is Pulumi Cloud
	Lifetime   time.Duration // of the access token; 0 for 2 hours
	HTTP       *http.Client  // nil for one of our own
}

const (
	exchangeTime = 15 * time.Second
	maxExchange  = 64 << 10 // bytes of an answer
)

// Audience is whom the ID token has to be for.
func (e Exchange) Audience() string { return "urn:pulumi:org:" + e.Organization }

// Check reports what is wrong with the fields.
func (e Exchange) Check() error {
	kind, name, named := strings.Cut(e.Scope, ":")
	switch {
	case e.Organization == "" || strings.ContainsAny(e.Organization, ": \t\r\n/"):
		return provision.Errorf(provision.Invalid, "the organisation %.80q is no name at Pulumi Cloud", e.Organization)
	case e.Scope == "", e.Scope == "admin", named && name != "" && (kind == "team" || kind == "user"):
		return nil
	}
	return provision.Errorf(provision.Invalid, "the scope %.80q is neither admin, team:NAME nor user:LOGIN", e.Scope)
}

// Token returns an access token for the run that idToken speaks for. A refusal is Denied,
// with Pulumi's reason; an answer that does not come is Busy.
func (e Exchange) Token(ctx context.Context, idToken string) (string, error) {
	if err := e.Check(); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	req, err := e.request(ctx, idToken)
	if err != nil {
		return "", err
	}
	client := http.Client{}
	if e.HTTP != nil {
		client = *e.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		return "", provision.Errorf(provision.Busy, "Pulumi's token exchange: no answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxExchange))
	if err != nil {
		return "", provision.Errorf(provision.Busy, "Pulumi's token exchange: no whole answer: %w", err)
	}
	return e.answer(resp, body)
}

func (e Exchange) request(ctx context.Context, idToken string) (*http.Request, error) {
	kind := map[string]string{"team": "team", "user": "personal"}[strings.SplitN(e.Scope, ":", 2)[0]]
	body, err := json.Marshal(map[string]any{
		"audience":             e.Audience(),
		"grant_type":           "urn:ietf:params:oauth:grant-type:token-exchange",
		"subject_token_type":   "urn:ietf:params:oauth:token-type:id_token",
		"requested_token_type": "urn:pulumi:token-type:access_token:" + cmp.Or(kind, "organization"),
		"expiration":           int(cmp.Or(e.Lifetime, 2*time.Hour).Seconds()),
		"scope":                e.Scope,
		"subject_token":        idToken,
	})
	if err != nil {
		return nil, err
	}
	base := "https://api.pulumi.com"
	if strings.HasPrefix(e.BackendURL, "https://") || strings.HasPrefix(e.BackendURL, "http://") {
		base = strings.TrimSuffix(e.BackendURL, "/")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/oauth/token", bytes.NewReader(body))
	if err != nil {
		return nil, provision.Errorf(provision.Invalid, "PULUMI_BACKEND_URL is no URL")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/vnd.pulumi+8")
	return req, nil
}

// answer reads what the service said. Its words on a refusal are an error's message in
// OAuth's form or in Pulumi's own, and never hold the token.
func (e Exchange) answer(resp *http.Response, body []byte) (string, error) {
	var said struct {
		AccessToken string `json:"access_token"`
		Message     string `json:"message"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	readable := json.Unmarshal(body, &said) == nil
	if resp.StatusCode == http.StatusOK && readable && said.AccessToken != "" {
		return said.AccessToken, nil
	}
	words := (&Program{}).clean(firstLine(cmp.Or(said.Description, said.Message, said.Error, "HTTP "+resp.Status)))
	id := resp.Header.Get("X-Pulumi-Request-Id")
	switch {
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500, resp.StatusCode == http.StatusOK:
		return "", &provision.Error{Class: provision.Busy, RequestID: id, Text: "Pulumi's token exchange: " + words}
	}
	return "", &provision.Error{Class: provision.Denied, RequestID: id, Text: "Pulumi's token exchange for organisation " + e.Organization + ": " + words,
		Next: "register GitHub as an OIDC issuer of the organisation at Pulumi Cloud, with a policy that lets this repository and branch ask for such a token"}
}
