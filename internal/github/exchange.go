package github

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	gh "github.com/google/go-github/v60/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// exchange asks for a token, and once more when GitHub's clock and ours are too far
// apart: then the assertion is written with the time that GitHub has.
func (a *App) exchange(ctx context.Context, w Workflow) (appToken, error) {
	a.mu.Lock()
	skew := a.skew
	a.mu.Unlock()
	token, ans := a.ask(ctx, w, skew)
	if there, ok := wrongTime(ans); ok {
		skew = time.Until(there)
		if token, ans = a.ask(ctx, w, skew); ans.err == nil && !ans.garbled {
			a.mu.Lock()
			a.skew = skew
			a.mu.Unlock()
		}
	}
	if ans.err != nil || ans.garbled {
		return appToken{}, a.classify(w, ans, skew)
	}
	return token, nil
}

// ask sends one request for a token. A lost answer does no harm: the token that nobody
// has heard of ends by itself.
// https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app
func (a *App) ask(ctx context.Context, w Workflow, skew time.Duration) (appToken, answer) {
	h := w.http()
	sign := signer{ghinstallation.NewRSASigner(jwt.SigningMethodRS256, a.key), skew}
	t, err := ghinstallation.NewAppsTransportWithOptions(h.Transport, a.id, ghinstallation.WithSigner(sign))
	if err != nil {
		return appToken{}, answer{err: err}
	}
	h.Transport = t
	c, err := w.api(h)
	if err != nil {
		return appToken{}, answer{err: err}
	}
	path := fmt.Sprintf("app/installations/%d/access_tokens", a.installation)
	// All that the installation may: an object, since GitHub refuses null.
	req, err := c.NewRequest(http.MethodPost, path, &gh.InstallationTokenOptions{})
	if err != nil {
		return appToken{}, answer{err: err}
	}
	req.Header.Set("X-GitHub-Api-Version", apiVersion)
	var it gh.InstallationToken
	sent := time.Now()
	ans := w.once(ctx, c, req, &it)
	if ans.err != nil {
		return appToken{}, ans
	}
	// How long it lives is told by one clock, GitHub's; ours may be wrong, or be set.
	left := it.GetExpiresAt().Sub(serverTime(ans.resp.Header, sent))
	if it.GetToken() == "" || ans.status() != http.StatusCreated || left <= 0 {
		ans.garbled = true
		return appToken{}, ans
	}
	left -= min(5*time.Minute, left/10)
	return appToken{base: w.base(), text: it.GetToken(), until: sent.Add(left)}, ans
}

// wrongTime returns GitHub's time when it refuses an assertion for the time in it.
func wrongTime(a answer) (time.Time, bool) {
	text, _ := message(a.err)
	if a.status() != http.StatusUnauthorized || !strings.Contains(text, "'exp'") && !strings.Contains(text, "'iat'") {
		return time.Time{}, false
	}
	there, err := http.ParseTime(a.resp.Header.Get("Date"))
	return there, err == nil
}

func (a *App) op() string {
	return fmt.Sprintf("get a token of installation %d of App %d", a.installation, a.id)
}

// classify says what a refused request for a token means.
func (a *App) classify(w Workflow, ans answer, skew time.Duration) error {
	err := w.classify(a.op(), ans, false)
	e, ok := err.(*provision.Error)
	if !ok {
		return err // a limit
	}
	text, _ := message(ans.err)
	switch s := ans.status(); {
	case strings.Contains(text, "'exp'"), strings.Contains(text, "'iat'"):
		e.Next = fmt.Sprintf("set this machine's clock: GitHub's is %s away from it", skew.Round(time.Second))
	case s == http.StatusUnauthorized:
		e.Next = fmt.Sprintf("check that GITHUB_APP_PRIVATE_KEY is a key of App %d, and that it is not deleted there", a.id)
	case s == http.StatusForbidden && strings.Contains(text, "suspended"):
		e.Next = fmt.Sprintf("unsuspend installation %d: its owner has suspended it", a.installation)
	case s == http.StatusForbidden:
		e.Next = fmt.Sprintf("look at installation %d in the settings of its owner", a.installation)
	case s == http.StatusNotFound && strings.Contains(text, "Integration"):
		e.Next = "check GITHUB_APP_ID: GitHub knows no such App"
	case s == http.StatusNotFound:
		e.Next = fmt.Sprintf("check GITHUB_APP_INSTALLATION_ID: App %d has no such installation", a.id)
	}
	return e
}

// A signer writes assertions with GitHub's time, which is skew ahead of ours.
type signer struct {
	ghinstallation.Signer
	skew time.Duration
}

// Sign moves the times in claims and signs them.
func (s signer) Sign(claims jwt.Claims) (string, error) {
	if c, ok := claims.(*jwt.RegisteredClaims); ok {
		c.IssuedAt = jwt.NewNumericDate(c.IssuedAt.Add(s.skew))
		c.ExpiresAt = jwt.NewNumericDate(c.ExpiresAt.Add(s.skew))
	}
	return s.Signer.Sign(claims)
}
