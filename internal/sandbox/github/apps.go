package github

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An App is a GitHub App that is installed on the repository. All fields but Lifetime and
// Suspended are required.
type App struct {
	ID           int64
	Installation int64
	Key          *rsa.PublicKey
	Lifetime     time.Duration // of a token; 0 for an hour
	Suspended    bool          // the owner has suspended the installation
}

// An issuer keeps the tokens that installations have been given.
type issuer struct {
	mu     sync.Mutex
	tokens map[string]time.Time // when each ends
	issued int
}

// knows reports whether token is one that has not ended.
func (i *issuer) knows(token string, now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	end, ok := i.tokens[token]
	return ok && now.Before(end)
}

func (i *issuer) issue(now, end time.Time) string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails
	token := "ghs_" + hex.EncodeToString(b[:])[:36]
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.tokens == nil {
		i.tokens = map[string]time.Time{}
	}
	for old, end := range i.tokens {
		if !now.Before(end) {
			delete(i.tokens, old)
		}
	}
	i.tokens[token] = end
	i.issued++
	return token
}

// TokensIssued returns how many tokens the App's installation has been given.
func (s *Server) TokensIssued() int {
	s.apps.mu.Lock()
	defer s.apps.mu.Unlock()
	return s.apps.issued
}

// RevokeTokens ends all tokens of the App's installation, as its owner can.
func (s *Server) RevokeTokens() {
	s.apps.mu.Lock()
	defer s.apps.mu.Unlock()
	clear(s.apps.tokens)
}

// getApp answers who the App is.
func (s *Server) getApp(r *http.Request) answer {
	if a := s.assertion(r, s.opts.Now()); a.status != 0 {
		return a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := stamp(time.Unix(0, 0))
	return answer{status: http.StatusOK, body: map[string]any{
		"id": s.opts.App.ID, "node_id": "A_1", "slug": "stand-in", "name": "Stand-in", "owner": s.user(s.owner()),
		"description": nil, "external_url": s.base, "html_url": s.base + "/apps/stand-in", "created_at": at, "updated_at": at,
		"permissions": permissions(), "events": []string{},
	}}
}

func permissions() map[string]any {
	return map[string]any{"actions": "write", "contents": "read", "metadata": "read"}
}

// postAccessToken gives the installation a token.
// https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app
func (s *Server) postAccessToken(r *http.Request) answer {
	now := s.opts.Now()
	if a := s.assertion(r, now); a.status != 0 {
		return a
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	var options map[string]any
	if err != nil || len(body) > 0 && json.Unmarshal(body, &options) != nil {
		return refusal(http.StatusBadRequest, "Problems parsing JSON")
	}
	if len(body) > 0 && options == nil {
		return refusal(http.StatusUnprocessableEntity, "Invalid request.\n\nFor 'links/0/schema', nil is not an object.")
	}
	app := s.opts.App
	switch {
	case r.PathValue("installation") != strconv.FormatInt(app.Installation, 10):
		return notFound()
	case app.Suspended:
		return refusal(http.StatusForbidden, "This installation has been suspended")
	}
	end := now.Add(cmp.Or(app.Lifetime, time.Hour)).Truncate(time.Second)
	return answer{status: http.StatusCreated, body: map[string]any{
		"token": s.apps.issue(now, end), "expires_at": stamp(end), "permissions": permissions(), "repository_selection": "all",
	}}
}

// assertion checks the App's own token, a JWT that it has signed with its key, and refuses
// it in GitHub's words; no status where it is good.
// https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
func (s *Server) assertion(r *http.Request, now time.Time) answer {
	bad := func(text string) answer { return refusal(http.StatusUnauthorized, "%s", text) }
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	claims, ok := decodeClaims(token)
	app := s.opts.App
	switch {
	case !strings.EqualFold(scheme, "Bearer") || !ok:
		return bad("A JSON web token could not be decoded")
	case app == nil || claims.Issuer != strconv.FormatInt(app.ID, 10):
		return refusal(http.StatusNotFound, "Integration not found")
	case !signed(token, app.Key):
		return bad("A JSON web token could not be decoded")
	case !whole(claims.Expires) || now.Unix() >= int64(claims.Expires):
		return bad("'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires")
	case int64(claims.Expires) > now.Add(10*time.Minute).Unix():
		return bad("'Expiration time' claim ('exp') is too far in the future")
	case !whole(claims.Issued) || int64(claims.Issued) > now.Unix():
		return bad("'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")
	}
	return answer{}
}

// Claims are what an assertion says.
type claims struct {
	Issuer  string  `json:"iss"`
	Issued  float64 `json:"iat"`
	Expires float64 `json:"exp"`
}

func whole(f float64) bool { return f > 0 && f == float64(int64(f)) }

// decodeClaims returns what an assertion says, and whether it is one of the kind RS256.
func decodeClaims(token string) (claims, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, false
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var c claims
	for i, v := range []any{&header, &c} {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(data, v) != nil {
			return claims{}, false
		}
	}
	return c, header.Algorithm == "RS256"
}

// signed reports whether the key that belongs to key has signed token.
func signed(token string, key *rsa.PublicKey) bool {
	i := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	sum := sha256.Sum256([]byte(token[:i]))
	return err == nil && rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
}
