package actions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sethvargo/go-githubactions"
)

// ErrNoIDToken is why a job has no ID token: its workflow does not ask for the permission.
// https://docs.github.com/actions/reference/security/oidc
var ErrNoIDToken = errors.New("this job may not ask GitHub for an ID token: add `id-token: write` to the job's permissions")

// idTokenTime is how long GitHub may take to sign a token.
const idTokenTime = 15 * time.Second

// IDToken returns a short-lived token with which GitHub vouches to audience for this run.
// It is masked. Without the permission the error is [ErrNoIDToken]; that of GitHub's own
// service has its status and none of its words.
func (a *Action) IDToken(ctx context.Context, audience string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, idTokenTime)
	defer cancel()
	token, err := a.runner().GetIDToken(ctx, audience)
	missing := (*githubactions.EnvMissingError)(nil)
	refused := (*githubactions.RequestFailedError)(nil)
	switch {
	case errors.As(err, &missing):
		return "", ErrNoIDToken
	case errors.As(err, &refused):
		return "", fmt.Errorf("GitHub's ID token service answered HTTP %d", refused.StatusCode)
	case err != nil && ctx.Err() != nil:
		return "", fmt.Errorf("GitHub's ID token service: %w", ctx.Err())
	case err != nil || token == "":
		// Its text may hold the address, which has an id of the job in it.
		return "", errors.New("GitHub's ID token service could not be asked")
	}
	a.Mask(token)
	return token, nil
}
