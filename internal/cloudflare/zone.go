// Package cloudflare sets tenants' DNS records, and pulls messages from a queue, through
// Cloudflare's API with its own client, cloudflare-go.
//
// That client repeats a POST after a lost answer or a 5xx, and reads neither an answer's
// "success" nor its Retry-After. So its retries are turned off here, and each answer is
// kept beside it and classified by what Cloudflare said (answer.go): whoever calls decides
// whether to look again. To add another part of the API, add a file beside records.go or
// queue.go that goes through link.call (client.go).
//
// https://developers.cloudflare.com/api/resources/dns/subresources/records/ and
// https://developers.cloudflare.com/queues/configuration/pull-consumers/
package cloudflare

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cloudflare/cloudflare-go"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Zone is one DNS zone at Cloudflare. The token needs Zone:Read and DNS:Edit for it.
type Zone struct {
	BaseURL  string // of the API; empty for [DefaultBaseURL]
	Token    string // an API token
	ID       string // the zone's id; empty to find it by ZoneName
	ZoneName string // the zone's name; empty to find it by ID. With both, both have to fit.
	// HTTP is the client to use; nil for one of the default settings. Its redirects are
	// not followed: the token is for Cloudflare alone.
	HTTP *http.Client
	// Timeout bounds each request; 0 for 10 s.
	Timeout time.Duration

	link link
	mu   sync.Mutex
	id   string // found; "" before
	name string // found; "" before
}

// Name returns the zone's name, in lower case. It asks once.
func (z *Zone) Name(ctx context.Context) (string, error) {
	_, name, err := z.find(ctx)
	return name, err
}

// find returns the zone's id and name. It answers [provision.NotFound] for a zone that
// Cloudflare does not know, or that the token may not see.
func (z *Zone) find(ctx context.Context) (id, name string, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.id != "" {
		return z.id, z.name, nil
	}
	if z.ID != "" {
		id, name, err = z.findByID(ctx)
	} else {
		id, name, err = z.findByName(ctx)
	}
	if err != nil {
		return "", "", err
	}
	z.id, z.name = id, name
	return id, name, nil
}

func (z *Zone) findByID(ctx context.Context) (id, name string, err error) {
	if err := checkID("zone", z.ID); err != nil {
		return "", "", err
	}
	var zone cloudflare.Zone
	err = z.call(ctx, "read zone "+z.ID, func(ctx context.Context, api *cloudflare.API) (err error) {
		zone, err = api.ZoneDetails(ctx, z.ID)
		return err
	})
	if e := (*provision.Error)(nil); errors.As(err, &e) && e.Class == provision.NotFound {
		e.Next = "check the zone's id, and that the API token has Zone:Read for it"
	}
	if err != nil {
		return "", "", err
	}
	if name = canonical(zone.Name); z.ZoneName != "" && canonical(z.ZoneName) != name {
		return "", "", provision.Errorf(provision.Invalid, "Cloudflare zone %s: expected name %s, found %s", z.ID, canonical(z.ZoneName), name)
	}
	return z.ID, name, nil
}

func (z *Zone) findByName(ctx context.Context) (id, name string, err error) {
	if name = canonical(z.ZoneName); name == "" {
		return "", "", provision.Errorf(provision.Invalid, "neither the id nor the name of the Cloudflare zone is set")
	}
	var list cloudflare.ZonesResponse
	err = z.call(ctx, "find zone "+name, func(ctx context.Context, api *cloudflare.API) (err error) {
		list, err = api.ListZonesContext(ctx, cloudflare.WithZoneFilters(name, "", ""))
		return err
	})
	if err != nil {
		return "", "", err
	}
	for _, zone := range list.Result {
		switch {
		case canonical(zone.Name) != name:
		case id != "" && id != zone.ID:
			return "", "", provision.Errorf(provision.Invalid, "Cloudflare has two zones called %s, %s and %s: set the zone's id", name, id, zone.ID)
		default:
			id = zone.ID
		}
	}
	if id == "" {
		return "", "", &provision.Error{
			Class: provision.NotFound,
			Text:  "Cloudflare has no zone called " + name + " that the token may see",
			Next:  "check the zone's name, and that the API token has Zone:Read for it",
		}
	}
	return id, name, checkID("zone", id)
}

// call makes one request and classifies how it ended. doing says what it is for.
func (z *Zone) call(ctx context.Context, doing string, request func(context.Context, *cloudflare.API) error) error {
	return z.link.call(ctx, terms{
		baseURL: z.BaseURL, token: z.Token, http: z.HTTP, timeout: z.Timeout,
		maxBody: 4 << 20, // a page of 100 records takes about 60 KiB
		// A run makes about ten requests. The client's own pace, made for those that make
		// 1,200 in five minutes, would only slow it down.
		perSecond: 20,
		denied:    "check that the Cloudflare API token is right, that it has Zone:Read and DNS:Edit for this zone, and that the zone's id is this zone's",
	}, doing, request)
}

// canonical returns a DNS name in lower case, without a final dot.
func canonical(name string) string {
	return strings.TrimSuffix(strings.ToLower(strings.TrimSpace(name)), ".")
}
