package provision

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pregoi/provision-tenant/internal/placement"
)

// A Job is one request to provision a tenant, after parsing.
//
// It travels twice, as a [Message] from the control plane to the dispatcher and as
// workflow inputs from the dispatcher to the action. Both use the names of [Fields],
// so one parser, [ParseJob], reads both.
type Job struct {
	ID                string
	TenantID          string
	Region            placement.Region
	CreateNewServer   bool
	TargetServerID    string // node to use; empty if a server is to be created
	SubdomainSlug     string
	CanonicalHostname string
	Dedicated         bool
	TraceID           string // optional; [ValidTraceID] holds
	// Attempt counts the runs that were asked for: 2 and so on when an operator has the job
	// done once more, 0 for the first. Each is one run. It travels in the message alone.
	Attempt int
}

// Fields are the names of a job's fields, in the order of the message's type.
func Fields() []string {
	return []string{"job_id", "tenant_id", "region", "create_new_server", "target_server_id",
		"subdomain_slug", "canonical_hostname", "dedicated", "trace_id"}
}

// maxIdentifier is the length of the longest identifier.
const maxIdentifier = 128

// isIdentifier reports whether s can be an identifier: letters, digits and a few signs, the
// first no sign. Identifiers become parts of run names, URLs, labels and record comments, so
// none may hold a space, a quote or anything that does not print. It is written out because
// a regular expression costs every start of a program a millisecond.
func isIdentifier(s string) bool {
	if s == "" || len(s) > maxIdentifier || strings.IndexByte(signs, s[0]) >= 0 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(signs, c) >= 0) {
			return false
		}
	}
	return true
}

// signs may stand in an identifier beside letters and digits.
const signs = "._~@:+-"

// ValidTraceID reports whether s, trimmed, has the platform's shape: the prefix
// trace_, then at least one character, at most 128 in all. Anything else is treated as absent.
func ValidTraceID(s string) bool {
	s = strings.TrimSpace(s)
	return isIdentifier(s) && len(s) > len("trace_") && strings.HasPrefix(s, "trace_")
}

// ParseJob reads a job from named strings, such as the fields of a message or the
// inputs of the action; get answers "" for what is absent. Values are trimmed, as the
// runner's toolkits do. The error names every field that is wrong, not just the first.
//
// An invalid trace_id is dropped: tracing never stops a job.
func ParseJob(get func(field string) string) (Job, error) {
	p := parser{get: get}
	j := Job{
		ID:                p.identifier("job_id"),
		TenantID:          p.identifier("tenant_id"),
		Region:            placement.Region(p.required("region")),
		CreateNewServer:   p.flag("create_new_server"),
		TargetServerID:    p.value("target_server_id"),
		SubdomainSlug:     p.required("subdomain_slug"),
		CanonicalHostname: p.required("canonical_hostname"),
		Dedicated:         p.flag("dedicated"),
	}
	if j.Region != "" && !j.Region.Valid() {
		p.bad("region", "is not sg, us or eu")
	}
	if j.SubdomainSlug != "" && !validLabel(j.SubdomainSlug) {
		p.bad("subdomain_slug", "is not a DNS label: lower-case letters, digits and inner hyphens, at most 63")
	}
	if j.CanonicalHostname != "" {
		if err := ValidHostname(j.CanonicalHostname); err != nil {
			p.bad("canonical_hostname", err.Error())
		}
	}
	switch {
	case j.TargetServerID != "" && !isIdentifier(j.TargetServerID):
		p.bad("target_server_id", "is not a node_id")
	case j.TargetServerID != "" && j.Dedicated:
		p.bad("target_server_id", "must be empty when dedicated is true: a dedicated tenant has servers of its own")
	case j.TargetServerID == "" && !j.CreateNewServer && !p.failed["create_new_server"]:
		p.bad("target_server_id", "is empty and create_new_server is not true: there is nowhere to put the tenant")
	}
	if v := p.value("trace_id"); ValidTraceID(v) {
		j.TraceID = v
	}
	if len(p.errs) > 0 {
		return Job{}, &Error{Class: Invalid, Text: joinLines(p.errs), Err: errors.Join(p.errs...)}
	}
	return j, nil
}

// A FieldError is one thing that is wrong with one field of a message or one input.
type FieldError struct {
	Field  string
	Value  string
	Reason string
}

func (e *FieldError) Error() string {
	field := e.Field
	if !isIdentifier(field) {
		field = fmt.Sprintf("%.80q", field) // whoever wrote the message chose it
	}
	return fmt.Sprintf("%s %.80q %s", field, e.Value, e.Reason)
}

// FieldErrors returns every [FieldError] in err, in the order they were found.
func FieldErrors(err error) []*FieldError {
	var list []*FieldError
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case *FieldError:
			list = append(list, e)
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				walk(err)
			}
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		}
	}
	walk(err)
	return list
}

// parser reads fields and remembers what was wrong.
type parser struct {
	get    func(string) string
	errs   []error
	failed map[string]bool
}

func (p *parser) bad(field, reason string) {
	if p.failed == nil {
		p.failed = map[string]bool{}
	}
	p.failed[field] = true
	p.errs = append(p.errs, &FieldError{Field: field, Value: p.get(field), Reason: reason})
}

func (p *parser) value(field string) string { return strings.TrimSpace(p.get(field)) }

func (p *parser) required(field string) string {
	v := p.value(field)
	if v == "" {
		p.bad(field, "is required")
	}
	return v
}

func (p *parser) identifier(field string) string {
	v := p.required(field)
	if v != "" && !isIdentifier(v) {
		p.bad(field, "must start with a letter or digit and hold only letters, digits and . _ ~ @ : + -, at most 128")
	}
	return v
}

func (p *parser) flag(field string) bool {
	switch p.value(field) {
	case "true":
		return true
	case "", "false":
		return false
	}
	p.bad(field, `is neither "true" nor "false"`)
	return false
}

// joinLines joins the texts of errs with semicolons, so that they stay on one line. It
// ends where nobody reads on: a message can have a field too many 20,000 times.
func joinLines(errs []error) string {
	const most = 50
	var texts []string
	for _, err := range errs[:min(len(errs), most)] {
		texts = append(texts, err.Error())
	}
	if len(errs) > most {
		texts = append(texts, fmt.Sprintf("and %d more", len(errs)-most))
	}
	return strings.Join(texts, "; ")
}
