package contract

import (
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// correct changes what is wrong in the document of that file, or what openapi3filter does
// not understand of it.
func correct(file string, doc *openapi3.T) {
	for _, path := range doc.Paths.InMatchingOrder() {
		for _, op := range doc.Paths.Value(path).Operations() {
			upperRanges(op.Responses)
		}
	}
	if file == "github.json" {
		searchedDates(doc)
	}
	if file == "cloudflare.json" {
		consumersInResult(doc)
	}
	if file == "hcloud.json" {
		numericSSHKeys(doc)
		pagedActions(doc)
		withoutDatacenter(doc)
	}
}

// upperRanges spells ranges of statuses as OpenAPI does: both vendors write 4xx for 4XX.
func upperRanges(r *openapi3.Responses) {
	for status, ref := range r.Map() {
		if strings.HasSuffix(status, "xx") {
			r.Delete(status)
			r.Set(strings.ToUpper(status), ref)
		}
	}
}

// searchedDates lets created be a range: the schema says date-time, its description that it
// has the syntax of GitHub's search, such as >=2026-01-02T15:04:05Z.
func searchedDates(doc *openapi3.T) {
	if p := doc.Components.Parameters["created"]; p != nil && p.Value != nil {
		p.Value.Schema.Value.Format = ""
	}
}

// consumersInResult lets a list of a queue's consumers be the envelope that it is: the
// document asks of the envelope for fields of a consumer, which is one level down.
func consumersInResult(doc *openapi3.T) {
	get := doc.Paths.Value("/accounts/{account_id}/queues/{queue_id}/consumers").Get
	for _, part := range get.Responses.Value("200").Value.Content["application/json"].Schema.Value.AllOf {
		if part.Ref == "" {
			part.Value.Required = nil
		}
	}
}

// numericSSHKeys lets the ssh_keys of a new server be numbers too: the schema says string,
// its description says number or string, and hcloud-go sends numbers.
func numericSSHKeys(doc *openapi3.T) {
	body := doc.Paths.Value("/servers").Post.RequestBody.Value.Content["application/json"].Schema.Value
	body.Properties["ssh_keys"].Value.Items = &openapi3.SchemaRef{Value: &openapi3.Schema{
		Type: &openapi3.Types{"string", "integer"},
	}}
}

// pagedActions lets a list of actions be sorted and paged like any other list: the route
// documents id alone, but hcloud-go sends the others too.
func pagedActions(doc *openapi3.T) {
	get := doc.Paths.Value("/actions").Get
	for _, name := range []string{"sort", "status", "page", "per_page"} {
		get.Parameters = append(get.Parameters, &openapi3.ParameterRef{Value: openapi3.NewQueryParameter(name)})
	}
}

// withoutDatacenter lets a server come without its datacenter: the document is older than
// the day on which the property went away, 2026-07-01, which it announces.
func withoutDatacenter(doc *openapi3.T) {
	optional := func(schema *openapi3.Schema) {
		if p := schema.Properties["datacenter"]; p != nil && p.Value.Deprecated {
			schema.Required = slices.DeleteFunc(schema.Required, func(name string) bool { return name == "datacenter" })
		}
	}
	for _, path := range doc.Paths.InMatchingOrder() {
		for _, op := range doc.Paths.Value(path).Operations() {
			for _, response := range op.Responses.Map() {
				for _, media := range response.Value.Content {
					for _, p := range media.Schema.Value.Properties {
						optional(p.Value)
						if p.Value.Items != nil {
							optional(p.Value.Items.Value)
						}
					}
				}
			}
		}
	}
}
