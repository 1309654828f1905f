package cloudflare

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/cloudflare/cloudflare-go"

	"github.com/pregoi/provision-tenant/internal/provision"
)

const (
	perPage  = 100
	maxPages = 50 // of one hostname; more is a mistake of somebody's
)

// Records returns every record of a hostname, of any type.
func (z *Zone) Records(ctx context.Context, hostname string) ([]provision.Record, error) {
	id, _, err := z.find(ctx)
	if err != nil {
		return nil, err
	}
	hostname = canonical(hostname)
	doing := "list the DNS records of " + hostname
	var records []provision.Record
	for page := 1; page <= maxPages; page++ {
		var list []cloudflare.DNSRecord
		var info *cloudflare.ResultInfo
		err := z.call(ctx, doing, func(ctx context.Context, api *cloudflare.API) (err error) {
			list, info, err = api.ListDNSRecords(ctx, cloudflare.ZoneIdentifier(id), cloudflare.ListDNSRecordsParams{
				Name:       hostname,
				ResultInfo: cloudflare.ResultInfo{Page: page, PerPage: perPage},
			})
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if canonical(r.Name) == hostname {
				records = append(records, record(r))
			}
		}
		if !info.HasMorePages() {
			return records, nil
		}
	}
	return nil, provision.Errorf(provision.Internal, "%s: more than %d pages of them", doing, maxPages)
}

// Create makes a record. It answers [provision.Conflict] if the hostname has such a record
// or one that does not go with it, [provision.Busy] if it cannot tell whether the record
// was made.
func (z *Zone) Create(ctx context.Context, r provision.Record) (provision.Record, error) {
	id, _, err := z.find(ctx)
	if err != nil {
		return provision.Record{}, err
	}
	var made cloudflare.DNSRecord
	err = z.call(ctx, "create "+describe(r), func(ctx context.Context, api *cloudflare.API) error {
		// The client's own method sends fields that only an answer may have.
		raw, err := api.Raw(ctx, http.MethodPost, "/zones/"+id+"/dns_records", params(r), nil)
		if err != nil {
			return err
		}
		return json.Unmarshal(raw.Result, &made)
	})
	if err != nil {
		return provision.Record{}, err
	}
	return record(made), nil
}

// Update gives the record with r's ID the rest of r. It answers [provision.Busy] also if
// the record has gone since it was looked at: looking again will tell.
func (z *Zone) Update(ctx context.Context, r provision.Record) (provision.Record, error) {
	id, _, err := z.find(ctx)
	if err != nil {
		return provision.Record{}, err
	}
	var made cloudflare.DNSRecord
	err = z.call(ctx, "update "+describe(r), func(ctx context.Context, api *cloudflare.API) (err error) {
		made, err = api.UpdateDNSRecord(ctx, cloudflare.ZoneIdentifier(id), params(r))
		return err
	})
	if recordGone(err) {
		return provision.Record{}, provision.Errorf(provision.Busy, "%w", err)
	}
	if err != nil {
		return provision.Record{}, err
	}
	return record(made), nil
}

// Delete removes the record with r's ID. One that has gone already is as good as removed.
func (z *Zone) Delete(ctx context.Context, r provision.Record) error {
	id, _, err := z.find(ctx)
	if err != nil {
		return err
	}
	err = z.call(ctx, "delete "+describe(r), func(ctx context.Context, api *cloudflare.API) error {
		// The API documents a body, which the client's own method does not send.
		_, err := api.Raw(ctx, http.MethodDelete, "/zones/"+id+"/dns_records/"+r.ID, struct{}{}, nil)
		return err
	})
	if recordGone(err) {
		return nil
	}
	return err
}

// params is what is sent of a record.
func params(r provision.Record) cloudflare.UpdateDNSRecordParams {
	return cloudflare.UpdateDNSRecordParams{
		ID: r.ID, Type: r.Type, Name: r.Name, Content: r.Content, TTL: cmp.Or(r.TTL, 1), Proxied: &r.Proxied, Comment: &r.Comment,
		Tags: []string{}, // nil would be sent as null, which the API does not document
	}
}

// record returns Cloudflare's r in our words.
func record(r cloudflare.DNSRecord) provision.Record {
	return provision.Record{
		ID: r.ID, Type: r.Type, Name: canonical(r.Name), Content: r.Content,
		Proxied: r.Proxied != nil && *r.Proxied, TTL: r.TTL, Comment: r.Comment, CreatedOn: r.CreatedOn,
	}
}

// describe says which record is meant, for an error.
func describe(r provision.Record) string {
	return fmt.Sprintf("the DNS record %s %s %.80s", r.Type, canonical(r.Name), r.Content)
}
