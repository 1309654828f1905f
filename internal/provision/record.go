package provision

import "time"

// A Record is a DNS record.
type Record struct {
	ID      string `json:"id,omitempty"` // the vendor's; empty before it exists
	Type    string `json:"type"`         // "A", "AAAA" or, when it is somebody else's, any other
	Name    string `json:"name"`         // the full hostname, without a final dot
	Content string `json:"content"`      // the address
	Proxied bool   `json:"proxied"`
	TTL     int    `json:"ttl"` // seconds; 1 is automatic, which a proxied record must have
	Comment string `json:"comment,omitempty"`
	// CreatedOn is when the vendor took it; zero before that.
	CreatedOn time.Time `json:"created_on,omitzero"`
}

// RecordComment is the comment that marks a record as tenantID's. Cloudflare's free
// plan takes 100 characters, so a long tenant_id is cut and gets a hash.
// https://developers.cloudflare.com/dns/manage-dns-records/reference/record-attributes/
func RecordComment(tenantID string) string { return "prego tenant=" + LabelValue(tenantID) }
