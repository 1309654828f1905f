// Package hetzner is the edge to Hetzner's Cloud API, through hcloud-go: it says what is to
// be had before anything is made, looks at the servers that a stack says it has, labels
// them, and finds what an interrupted update has made. It makes and deletes nothing.
//
// Each question has a file. To ask another, write its file, do every call through a client
// of [Project], and put what goes wrong through classify.
package hetzner

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Project is a project at Hetzner, whose servers a token gives access to.
type Project struct {
	Token    string
	Endpoint string // empty for the vendor's own: "https://api.hetzner.cloud/v1"
	// Locations are where the servers of a region may stand; nil for [DefaultLocations].
	Locations map[placement.Region][]string
	// Wait is how long servers have to start running; 0 for 3 minutes.
	Wait time.Duration
	// Poll is the first pause between two looks at a server that does not run yet; 0 for
	// half a second. It grows, to ten times as much, and further when requests get scarce.
	Poll time.Duration
	// RetryPause is the first pause before a request is sent again; 0 for a second. It doubles.
	RetryPause time.Duration
	// Transport sends the requests; nil for http.DefaultTransport.
	Transport http.RoundTripper

	once   sync.Once
	client *hcloud.Client
}

// DefaultLocations are Hetzner's locations by region.
// https://docs.hetzner.com/cloud/general/locations
func DefaultLocations() map[placement.Region][]string {
	return map[placement.Region][]string{
		placement.SG: {"sin"},
		placement.US: {"ash", "hil"},
		placement.EU: {"nbg1", "fsn1", "hel1"},
	}
}

func (p *Project) locations() map[placement.Region][]string {
	if p.Locations != nil {
		return p.Locations
	}
	return DefaultLocations()
}

const (
	requestTime = 15 * time.Second // for one request
	maxRetries  = 4
	maxBody     = 8 << 20 // of an answer: a full page of servers has about 400 KB
)

// api returns the client.
func (p *Project) api() (*hcloud.Client, error) {
	if p.Token == "" || strings.ContainsFunc(p.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, &provision.Error{
			Class: provision.Denied,
			Text:  "hetzner: the token is empty, or holds what no token holds",
			Next:  "check HCLOUD_TOKEN of the region",
		}
	}
	p.once.Do(func() {
		options := []hcloud.ClientOption{
			hcloud.WithToken(p.Token),
			hcloud.WithApplication("provision-tenant", ""),
			hcloud.WithHTTPClient(&http.Client{Transport: bounded{p.transport()}, Timeout: requestTime}),
			hcloud.WithRetryOpts(hcloud.RetryOpts{
				MaxRetries:  maxRetries,
				BackoffFunc: backoff(cmp.Or(p.RetryPause, time.Second), 30*time.Second),
			}),
		}
		if p.Endpoint != "" {
			options = append(options, hcloud.WithEndpoint(p.Endpoint))
		}
		p.client = hcloud.NewClient(options...)
	})
	return p.client, nil
}

func (p *Project) transport() http.RoundTripper {
	if p.Transport != nil {
		return p.Transport
	}
	return http.DefaultTransport
}

// backoff doubles from base up to most.
func backoff(base, most time.Duration) hcloud.BackoffFunc {
	return hcloud.ExponentialBackoffWithOpts(hcloud.ExponentialBackoffOpts{Base: base, Multiplier: 2, Cap: most, Jitter: true})
}

// get asks a question that changes nothing, again if no answer came: hcloud-go repeats what
// the vendor says to repeat, but not what the network lost.
func get[T any](ctx context.Context, p *Project, doing string, ask func(context.Context, *hcloud.Client) (T, error)) (T, error) {
	client, err := p.api()
	if err != nil {
		var none T
		return none, err
	}
	pause := backoff(cmp.Or(p.RetryPause, time.Second), 30*time.Second)
	for try := 0; ; try++ {
		answer, err := ask(ctx, client)
		if err == nil {
			return answer, nil
		}
		if try >= maxRetries-1 || !lost(err) || repeated(err) || sleep(ctx, pause(try)) != nil {
			return answer, classify(ctx, doing, err)
		}
	}
}

// sleep waits, unless ctx is done first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// bounded refuses to read an answer without end.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{resp.Body, maxBody}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

var errTooLong = errors.New("the answer is too long")

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
