package github

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// An App is a GitHub App with one installation, in place of a token. The workflows of a
// process share it: its token is asked for once, kept for as long as it lives, and renewed
// before it ends. Make one with [NewApp]. It is safe for concurrent use.
// https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation
type App struct {
	id, installation int64
	key              *rsa.PrivateKey

	mu     sync.Mutex
	token  appToken
	flight *flight       // the request for a token that is under way; nil for none
	skew   time.Duration // of GitHub's clock against ours, as far as it has mattered
	limit  *LimitError   // what GitHub has answered last; nil if it was no limit
	quiet  time.Time     // no request for a token before that, because of limit
}

// An appToken is an installation's token. The zero one has ended.
type appToken struct {
	base  string // the API that it is for
	text  string
	until time.Time // renew it from then on
}

// A flight is one request for a token, and those who wait for it.
type flight struct {
	done  chan struct{} // closed: token and err are set
	token appToken
	err   error
}

// NewApp returns an App from the texts of GITHUB_APP_ID, GITHUB_APP_INSTALLATION_ID and
// GITHUB_APP_PRIVATE_KEY. The key is an RSA key as PEM, of PKCS #1, as GitHub makes it, or
// of PKCS #8; it may have \n in place of its ends of lines, as a variable often has. An
// error is Invalid, or Denied for the key, and does not repeat it.
func NewApp(id, installation, key string) (*App, error) {
	number := func(name, text string) (int64, error) {
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil || n <= 0 {
			return 0, &provision.Error{Class: provision.Invalid, Text: fmt.Sprintf("%s %.40q is no positive number", name, text),
				Next: "take the number from the App's settings at GitHub"}
		}
		return n, nil
	}
	var a App
	var err error
	if a.id, err = number("GITHUB_APP_ID", id); err != nil {
		return nil, err
	}
	if a.installation, err = number("GITHUB_APP_INSTALLATION_ID", installation); err != nil {
		return nil, err
	}
	if a.key, err = parseKey(key); err != nil {
		return nil, &provision.Error{Class: provision.Denied, Text: "GITHUB_APP_PRIVATE_KEY is no RSA private key in PEM",
			Next: "set it to the whole .pem file that GitHub made for the App, with its BEGIN and END lines"}
	}
	return &a, nil
}

func parseKey(text string) (*rsa.PrivateKey, error) {
	if !strings.Contains(text, "\n") {
		text = strings.ReplaceAll(text, `\n`, "\n")
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("no PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("not RSA")
	}
	return key, nil
}

// get returns a token for w that is not the refused one. However many want one, one
// request for it is under way at a time, and whoever has waited for it shares its answer.
func (a *App) get(ctx context.Context, w Workflow, refused string) (string, error) {
	base := w.base()
	for {
		a.mu.Lock()
		now := time.Now()
		if t := a.token; t.base == base && t.text != refused && now.Before(t.until) {
			a.mu.Unlock()
			return t.text, nil
		}
		if a.limit != nil && now.Before(a.quiet) {
			defer a.mu.Unlock()
			return "", a.limit
		}
		f := a.flight
		if f == nil {
			f = &flight{done: make(chan struct{})}
			a.flight = f
			a.mu.Unlock()
			a.fly(ctx, w, f)
			return f.token.text, f.err
		}
		a.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return "", fmt.Errorf("%s: %w", a.op(), ctx.Err())
		}
		if f.err != nil && provision.ClassOf(f.err) != provision.Cancelled { // that was another's end, not ours
			return "", f.err
		}
	}
}

// fly asks for a token and shares what comes of it.
func (a *App) fly(ctx context.Context, w Workflow, f *flight) {
	f.token, f.err = a.exchange(ctx, w)
	a.mu.Lock()
	a.limit, _ = f.err.(*LimitError)
	switch {
	case f.err == nil:
		a.token = f.token
	case a.limit != nil && a.limit.At.IsZero():
		a.quiet = time.Now().Add(time.Minute)
	case a.limit != nil:
		a.quiet = a.limit.At
	}
	a.flight = nil
	a.mu.Unlock()
	close(f.done)
}
