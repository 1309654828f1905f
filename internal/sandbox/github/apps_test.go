package github_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
)

// assertion returns a JWT of these parts, signed with RS256.
func assertion(t *testing.T, key *rsa.PrivateKey, header, claims string) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(header)) + "." + b64([]byte(claims))
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(signature)
}

// What an App may say of itself, and GitHub's words for the rest.
func TestAssertion(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	s := away(github.Options{App: &github.App{ID: 7, Installation: 42, Key: &key.PublicKey, Lifetime: time.Minute}, Now: func() time.Time { return now }})
	const rs256 = `{"alg":"RS256","typ":"JWT"}`
	says := func(iat, exp any) string {
		at := func(v any) any {
			if d, ok := v.(int); ok {
				return now.Unix() + int64(d)
			}
			return v
		}
		return fmt.Sprintf(`{"iss":"7","iat":%v,"exp":%v}`, at(iat), at(exp))
	}
	const undecoded = "A JSON web token could not be decoded"
	for _, test := range []struct {
		key            *rsa.PrivateKey
		header, claims string
		status         int
		text           string
	}{
		{key, rs256, says(-60, 540), 200, ""},
		{key, rs256, says(0, 600), 200, ""},
		{key, rs256, says(0, 601), 401, "'Expiration time' claim ('exp') is too far in the future"},
		{key, rs256, says(-60, 0), 401, "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"},
		{key, rs256, says(-60, 1800000060.5), 401, "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"},
		{key, rs256, says(1, 60), 401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"},
		{key, rs256, says(1799999999.5, 60), 401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"},
		{key, rs256, `{"iss":"8","iat":1,"exp":2}`, 404, "Integration not found"},
		{other, rs256, says(-60, 60), 401, undecoded},
		{key, `{"alg":"none"}`, says(-60, 60), 401, undecoded},
		{key, `{"alg":"HS256"}`, says(-60, 60), 401, undecoded},
		{key, rs256, `{`, 401, undecoded},
	} {
		status, body, _ := ask(t, s, "GET", "/app", "", "Authorization", "Bearer "+assertion(t, test.key, test.header, test.claims))
		if text := fmt.Sprint(body["message"]); status != test.status || test.text != "" && text != test.text {
			t.Errorf("%s %s: %d %s, want %d %s", test.header, test.claims, status, text, test.status, test.text)
		}
	}
	if status, body, _ := ask(t, s, "GET", "/app", ""); status != 401 || body["message"] != undecoded {
		t.Errorf("a token that is no assertion: %d %v", status, body)
	}

	bearer := "Bearer " + assertion(t, key, rs256, says(-60, 60))
	const access = "/app/installations/42/access_tokens"
	for _, test := range []struct {
		path, body string
		status     int
	}{{access, "", 201}, {access, "{}", 201}, {access, "null", 422}, {access, "{", 400}, {"/app/installations/43/access_tokens", "{}", 404}} {
		if status, body, _ := ask(t, s, "POST", test.path, test.body, "Authorization", bearer); status != test.status {
			t.Errorf("%s %s: %d %v, want %d", test.path, test.body, status, body, test.status)
		}
	}
	_, body, _ := ask(t, s, "POST", access, "", "Authorization", bearer)
	if end := now.Add(time.Minute).UTC().Format(time.RFC3339); body["expires_at"] != end {
		t.Errorf("the token ends at %v, want %s", body["expires_at"], end)
	}
	bearer = fmt.Sprint("token ", body["token"])
	if status, _, _ := ask(t, s, "GET", "/repos/o/r", "", "Authorization", bearer); status != 200 {
		t.Errorf("with the installation's token: %d", status)
	}
	if status, _, _ := ask(t, s, "GET", "/app", "", "Authorization", bearer); status != 401 {
		t.Errorf("the installation's token at the App's own address: %d", status)
	}
	now = now.Add(time.Minute)
	if status, body, _ := ask(t, s, "GET", "/repos/o/r", "", "Authorization", bearer); status != 401 || body["message"] != "Bad credentials" {
		t.Errorf("when it has ended: %d %v", status, body)
	}
}

// What an App gets has the shape that GitHub's own description gives it.
func TestAppContract(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	app := github.App{ID: 7, Installation: 42, Key: &key.PublicKey}
	s := away(github.Options{App: &app})
	suspended := app
	suspended.Suspended = true
	for _, file := range []string{"github.json", "github-2026-03-10.json"} {
		for _, test := range []struct {
			server               *github.Server
			method, path, issuer string
			want                 int
		}{
			{s, "GET", "/app", "7", 200},
			{s, "POST", "/app/installations/42/access_tokens", "7", 201},
			{s, "POST", "/app/installations/43/access_tokens", "7", 404},
			{s, "POST", "/app/installations/42/access_tokens", "8", 404},
			{away(github.Options{App: &suspended}), "POST", "/app/installations/42/access_tokens", "7", 403},
		} {
			now := time.Now().Unix()
			req := httptest.NewRequest(test.method, test.path, strings.NewReader(map[string]string{"POST": "{}"}[test.method]))
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+assertion(t, key, `{"alg":"RS256"}`, fmt.Sprintf(`{"iss":%q,"iat":%d,"exp":%d}`, test.issuer, now-60, now+60)))
			rec := httptest.NewRecorder()
			contract.Handler(t, file, "", test.server.Handler()).ServeHTTP(rec, req)
			if rec.Code != test.want {
				t.Errorf("%s %s as %s: %d %s, want %d", test.method, test.path, test.issuer, rec.Code, rec.Body, test.want)
			}
		}
	}
}
