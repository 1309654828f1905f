package hetzner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A meaning is what follows from one of the vendor's error codes.
type meaning struct {
	class provision.Class
	next  string // advice; empty for the class's
}

// meanings are the vendor's error codes that are none of [provision.Internal].
// https://docs.hetzner.cloud/reference/cloud#errors
func meanings() map[hcloud.ErrorCode]meaning {
	const checkToken = "check HCLOUD_TOKEN of the region"
	return map[hcloud.ErrorCode]meaning{
		hcloud.ErrorCodeUnauthorized:          {provision.Denied, checkToken},
		"token_readonly":                      {provision.Denied, "give HCLOUD_TOKEN of the region a token that may write"},
		hcloud.ErrorCodeForbidden:             {provision.Denied, checkToken + ", and what it may do"},
		hcloud.ErrorCodeNotFound:              {provision.NotFound, ""},
		hcloud.ErrorCodeInvalidInput:          {provision.Invalid, ""},
		hcloud.ErrorCodeJSONError:             {provision.Invalid, ""},
		hcloud.ErrorDeprecatedAPIEndpoint:     {provision.Invalid, "use a newer version of provision-tenant"},
		hcloud.ErrorUnsupportedError:          {provision.Invalid, ""},
		hcloud.ErrorCodeUniquenessError:       {provision.Conflict, ""},
		hcloud.ErrorCodeProtected:             {provision.Conflict, ""},
		hcloud.ErrorCodeResourceUnavailable:   {provision.NoCapacity, ""},
		hcloud.ErrorCodePlacementError:        {provision.NoCapacity, ""},
		hcloud.ErrorCodeNoSpaceLeftInLocation: {provision.NoCapacity, ""},
		hcloud.ErrorCodeResourceLimitExceeded: {provision.NoCapacity, "have the limit of the Hetzner project raised, then run the same job again"},
		hcloud.ErrorCodeConflict:              {provision.Busy, ""},
		hcloud.ErrorCodeLocked:                {provision.Busy, ""},
		hcloud.ErrorCodeResourceLocked:        {provision.Busy, ""},
		hcloud.ErrorCodeRateLimitExceeded:     {provision.Busy, ""},
		hcloud.ErrorCodeMaintenance:           {provision.Busy, ""},
		hcloud.ErrorCodeBadGateway:            {provision.Busy, ""},
		hcloud.ErrorCodeTimeout:               {provision.Busy, ""},
		hcloud.ErrorCodeRobotUnavailable:      {provision.Busy, ""},
		hcloud.ErrorCodeServerError:           {provision.Busy, ""},
		hcloud.ErrorCodeServiceError:          {provision.Busy, ""},
		"unavailable":                         {provision.Busy, ""},
	}
}

// maxMessage bounds what an error repeats of the vendor's text.
const maxMessage = 300

// classify says what err, which came of doing something, means.
func classify(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	var e hcloud.Error
	if errors.As(err, &e) {
		m, known := meanings()[e.Code]
		if !known {
			m.class = provision.Internal
		}
		text := strings.Join(strings.Fields(e.Message), " ")
		classified := &provision.Error{
			Class: m.class,
			Text:  fmt.Sprintf("%s: %s (%s)", doing, clip(text), e.Code),
			Next:  m.next,
			Err:   err,
		}
		if r := e.Response(); r != nil && r.Response != nil {
			classified.RequestID = r.Header.Get("X-Correlation-Id")
		}
		return classified
	}
	if lost(err) {
		return &provision.Error{Class: provision.Busy, Text: doing + ": hetzner did not answer: " + reason(err), Err: err}
	}
	return &provision.Error{Class: provision.Internal, Text: doing + ": an answer that cannot be read: " + reason(err), Err: err}
}

// lost reports whether err says nothing of what became of the request: no answer came, or
// one from a gateway.
func lost(err error) bool {
	if e := (hcloud.Error{}); errors.As(err, &e) {
		return e.Code == hcloud.ErrorCodeServerError || e.Code == hcloud.ErrorCodeServiceError || e.Code == "unavailable"
	}
	var network net.Error
	switch {
	case errors.Is(err, errTooLong):
		return false
	case errors.Is(err, hcloud.ErrStatusCode), errors.As(err, &network):
		return true
	}
	return strings.Contains(err.Error(), "EOF") // cut within the body; json and http each have their own
}

// repeated reports whether hcloud-go has sent the request several times already.
func repeated(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout() ||
		errors.Is(err, hcloud.ErrStatusCode) && (strings.HasSuffix(err.Error(), " 502") || strings.HasSuffix(err.Error(), " 504"))
}

// reason is the innermost of a network error, without the URL and the addresses around it.
func reason(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	return clip(strings.Join(strings.Fields(err.Error()), " "))
}

// clip cuts the vendor's text where it gets long, and not within a character.
func clip(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxMessage)], "")
}
