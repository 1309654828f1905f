package pulumi

import (
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

const (
	serviceTime = 10 * time.Second // for one answer of Pulumi's service
	maxState    = 32 << 20         // bytes of a stack's state; a dedicated one has about 30 KB
)

// pulumiCloud is Pulumi's own service.
const pulumiCloud = "https://api.pulumi.com"

// checkService asks Pulumi's service whether it takes the token, and whose the stack is. Its
// API is what the pulumi command itself uses.
// https://www.pulumi.com/docs/reference/cloud-rest-api/
func (s *session) checkService(ctx context.Context) error {
	if s.p.AccessToken == "" {
		return &provision.Error{Class: provision.Denied, Text: "there is no token for Pulumi's service", Next: "set PULUMI_ACCESS_TOKEN"}
	}
	var user struct {
		Login string `json:"githubLogin"`
	}
	if err := s.ask(ctx, &user, "user"); err != nil {
		return err
	}
	if user.Login == "" {
		return noService("")
	}
	project := s.project()
	if project == "" {
		return nil
	}
	organization := s.p.Organization
	if organization == "" {
		var its struct {
			Login string `json:"GitHubLogin"`
		}
		if err := s.ask(ctx, &its, "user", "organizations", "default"); err != nil {
			return err
		}
		organization = cmp.Or(its.Login, user.Login)
	}
	stack := []string{"stacks", organization, project, s.label}
	if !s.job.Dedicated {
		return s.ask(ctx, nil, stack...)
	}
	var exported struct {
		Deployment state `json:"deployment"`
	}
	if err := s.ask(ctx, &exported, append(stack, "export")...); err != nil {
		return err
	}
	return s.ownedBy(exported.Deployment.tenant(), "its output tenant_id")
}

// ask reads one answer of the service into v, and leaves v alone if there is no such thing.
func (s *session) ask(ctx context.Context, v any, path ...string) error {
	base := pulumiCloud
	if s.p.BackendURL != "" {
		base = strings.TrimSuffix(s.p.BackendURL, "/")
	}
	target := base + "/api"
	for _, part := range path {
		target += "/" + url.PathEscape(part)
	}
	ctx, cancel := context.WithTimeout(ctx, serviceTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return provision.Errorf(provision.Invalid, "PULUMI_BACKEND_URL is no URL")
	}
	req.Header.Set("Authorization", "token "+s.p.AccessToken)
	req.Header.Set("Accept", "application/vnd.pulumi+8")
	// Where the service has moved to, the token is not sent.
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		return provision.Errorf(provision.Busy, "Pulumi's service: no answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxState+1))
	switch {
	case err != nil:
		return provision.Errorf(provision.Busy, "Pulumi's service: no whole answer: %w", err)
	case len(body) > maxState:
		return nil // too much to look through; an update will
	}
	return answered(resp, body, v, path)
}

// answered reads what the service said when it was asked for path.
func answered(resp *http.Response, body []byte, v any, path []string) error {
	e := &provision.Error{RequestID: resp.Header.Get("X-Pulumi-Request-Id")}
	switch status := resp.StatusCode; {
	case status == http.StatusOK:
		if v != nil && json.Unmarshal(body, v) != nil {
			return noService(e.RequestID)
		}
		return nil
	case status == http.StatusNotFound && len(path) > 1: // no such stack, or no such route on an older service
		return nil
	case status == http.StatusUnauthorized:
		e.Class, e.Text, e.Next = provision.Denied, "Pulumi's service does not take the token", "check PULUMI_ACCESS_TOKEN: it may have expired"
	case status == http.StatusForbidden:
		e.Class, e.Text = provision.Denied, "Pulumi's service does not let the token see "+strings.Join(path, "/")
		e.Next = "check what PULUMI_ACCESS_TOKEN may do, and pulumi_organization"
	case status == http.StatusTooManyRequests || status >= 500:
		e.Class, e.Text = provision.Busy, "Pulumi's service: HTTP "+resp.Status
	default:
		return noService(e.RequestID)
	}
	return e
}

// noService says that somebody else answered.
func noService(requestID string) error {
	return &provision.Error{Class: provision.Invalid, RequestID: requestID, Text: "what answers at PULUMI_BACKEND_URL is not Pulumi's service",
		Next: "correct PULUMI_BACKEND_URL, or leave it out for Pulumi Cloud"}
}
