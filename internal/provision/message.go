package provision

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
)

// A Message is the ProvisionQueueMessage: a job on its way from the control plane to
// the dispatcher, every field a string.
type Message struct {
	JobID             string `json:"job_id"`
	TenantID          string `json:"tenant_id"`
	Region            string `json:"region"`
	CreateNewServer   string `json:"create_new_server"` // "true" or "false"
	TargetServerID    string `json:"target_server_id"`  // "" when none
	SubdomainSlug     string `json:"subdomain_slug"`
	CanonicalHostname string `json:"canonical_hostname"`
	Dedicated         string `json:"dedicated,omitempty"` // "true", "false" or absent
	TraceID           string `json:"trace_id,omitempty"`
	// Attempt is "2" and so on when an operator has the job done once more: the same job_id
	// then gets another run. Absent for the first.
	Attempt string `json:"attempt,omitempty"`
}

// Message returns the message that asks for j.
func (j Job) Message() Message {
	m := Message{
		JobID:             j.ID,
		TenantID:          j.TenantID,
		Region:            string(j.Region),
		CreateNewServer:   strconv.FormatBool(j.CreateNewServer),
		TargetServerID:    j.TargetServerID,
		SubdomainSlug:     j.SubdomainSlug,
		CanonicalHostname: j.CanonicalHostname,
		Dedicated:         strconv.FormatBool(j.Dedicated),
		TraceID:           j.TraceID,
	}
	if j.Attempt > 1 {
		m.Attempt = strconv.Itoa(j.Attempt)
	}
	return m
}

// Field returns the value of the field that the message calls name; "" if it has none.
func (m Message) Field(name string) string {
	switch name {
	case "job_id":
		return m.JobID
	case "tenant_id":
		return m.TenantID
	case "region":
		return m.Region
	case "create_new_server":
		return m.CreateNewServer
	case "target_server_id":
		return m.TargetServerID
	case "subdomain_slug":
		return m.SubdomainSlug
	case "canonical_hostname":
		return m.CanonicalHostname
	case "dedicated":
		return m.Dedicated
	case "trace_id":
		return m.TraceID
	}
	return ""
}

// Job returns the job that m asks for.
func (m Message) Job() (Job, error) { return parseMessage(m.Attempt, m.Field) }

// attemptField is the one field of a message that is no input of the workflow.
const attemptField = "attempt"

// maxAttempts is more than anybody has patience for.
const maxAttempts = 1000

// parseMessage is ParseJob for the fields of a message, of which attempt is one.
func parseMessage(attempt string, get func(string) string) (Job, error) {
	j, err := ParseJob(get)
	if attempt == "" {
		return j, err
	}
	n, e := strconv.Atoi(attempt)
	if e != nil || n < 1 || n > maxAttempts || attempt != strconv.Itoa(n) {
		fe := &FieldError{Field: attemptField, Value: attempt, Reason: "is no number of an attempt, from 1"}
		text := fe.Error()
		if err != nil {
			text = err.Error() + "; " + text
		}
		return Job{}, &Error{Class: Invalid, Text: text, Err: errors.Join(err, fe)}
	}
	if n > 1 {
		j.Attempt = n
	}
	return j, err
}

// MaxMessageBytes is the largest message that a Cloudflare Queue carries.
// https://developers.cloudflare.com/queues/platform/limits/
const MaxMessageBytes = 128 << 10

// ParseMessage reads the JSON of a message and returns its job.
//
// Every field is a string, as the message's type says; JSON booleans are tolerated for
// create_new_server and dedicated. A field that the type does not have is refused by
// name, unless allowUnknown. The error names everything that is wrong in one go.
func ParseMessage(data []byte, allowUnknown bool) (Job, error) {
	if len(data) > MaxMessageBytes {
		return Job{}, Errorf(Invalid, "message is %d bytes long, more than the %d that a queue carries", len(data), MaxMessageBytes)
	}
	raw, err := object(data)
	if err != nil {
		return Job{}, Errorf(Invalid, "message: %w", err)
	}
	var errs []error
	values := map[string]string{}
	for _, f := range raw {
		switch {
		case f.name != attemptField && !slices.Contains(Fields(), f.name):
			if !allowUnknown {
				errs = append(errs, &FieldError{Field: f.name, Value: string(f.value), Reason: "is not a field of the message"})
			}
			continue
		case f.repeated:
			errs = append(errs, &FieldError{Field: f.name, Value: string(f.value), Reason: "stands there twice"})
			continue
		}
		v, err := text(f.name, f.value)
		if err != nil {
			errs = append(errs, err)
		}
		values[f.name] = v
	}
	wrong := len(errs)
	job, err := parseMessage(values[attemptField], func(name string) string { return values[name] })
	for _, fe := range FieldErrors(err) {
		if !slices.ContainsFunc(errs[:wrong], func(e error) bool { return e.(*FieldError).Field == fe.Field }) {
			errs = append(errs, fe)
		}
	}
	if len(errs) > 0 {
		return Job{}, &Error{Class: Invalid, Text: "message: " + joinLines(errs), Err: errors.Join(errs...)}
	}
	return job, nil
}

// text returns the string that JSON value holds. What holds none is returned as it stands,
// so that a field of the wrong type does not count as an absent one too.
func text(name string, value json.RawMessage) (string, error) {
	var s string
	if err := json.Unmarshal(value, &s); err == nil && value[0] == '"' {
		return s, nil
	}
	if v := string(value); (name == "create_new_server" || name == "dedicated") && (v == "true" || v == "false") {
		return v, nil
	}
	if string(value) == "null" && (name == "dedicated" || name == "trace_id" || name == attemptField) {
		return "", nil
	}
	return string(value), &FieldError{Field: name, Value: string(value), Reason: "is not a string"}
}

// A rawField is one member of a JSON object, as it stands there.
type rawField struct {
	name     string
	value    json.RawMessage
	repeated bool
}

// object reads the members of the one JSON object in data, in their order. A map would
// let the last of two equal names win, and whoever checked the first would be fooled.
func object(data []byte) ([]rawField, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var list []rawField
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, errors.New("not valid JSON")
		}
		f := rawField{name: t.(string)} // unreachable otherwise: a member's name is a string
		if err := d.Decode(&f.value); err != nil {
			return nil, errors.New("not valid JSON")
		}
		f.repeated = seen[f.name]
		seen[f.name] = true
		list = append(list, f)
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("not valid JSON")
	}
	if _, err := d.Token(); err != io.EOF { // More takes a stray bracket for an end
		return nil, errors.New("more than one JSON value")
	}
	return list, nil
}
