package cloudflare

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Batch is what one pull brought.
type Batch struct {
	Messages []Delivery // in no particular order; none if the queue has nothing to give
	Backlog  int        // messages in the queue that are not acknowledged, leased ones too
}

// A Delivery is one message, delivered once more.
type Delivery struct {
	ID       string    // the vendor's, the same at each delivery
	Lease    string    // names this delivery when it is settled
	Attempts int       // deliveries so far, this one counted
	At       time.Time // when it was put into the queue; zero if the queue does not say so
	Body     []byte    // decoded; as it came, if Unreadable is set
	// Unreadable says why Body could not be decoded. It is [provision.Invalid]: the message
	// will be no better the next time.
	Unreadable error
}

// A wireMessage is a message as Cloudflare sends it. Numbers are any JSON numbers: its
// document does not say that they are whole.
type wireMessage struct {
	ID       string          `json:"id"`
	Lease    string          `json:"lease_id"`
	Attempts float64         `json:"attempts"`
	Millis   float64         `json:"timestamp_ms"`
	Body     json.RawMessage `json:"body"`
	Metadata map[string]any  `json:"metadata"`
}

func (m wireMessage) delivery() Delivery {
	d := Delivery{ID: m.ID, Lease: m.Lease, Attempts: int(m.Attempts)}
	if m.Millis > 0 {
		d.At = time.UnixMilli(int64(m.Millis))
	}
	kind := ""
	for k, v := range m.Metadata {
		if text, ok := v.(string); ok && strings.EqualFold(k, "CF-Content-Type") {
			kind = strings.ToLower(text)
		}
	}
	var ok bool
	switch d.Body, ok = decode(kind, m.Body); {
	case ok:
	case kind == "v8":
		d.Unreadable = &provision.Error{
			Class: provision.Invalid,
			Text:  "message " + clip(m.ID, 80) + ": its content type is v8, which nothing outside a Worker can decode",
			Next:  `set the producer's content type to json: env.QUEUE.send(message, { contentType: "json" })`,
		}
	default:
		d.Unreadable = provision.Errorf(provision.Invalid, "message %s: its body is not what its content type %.40q says", clip(m.ID, 80), kind)
	}
	return d
}

// decode returns the body of a message of a content type, or what came and false.
// https://developers.cloudflare.com/queues/configuration/pull-consumers/#content-types
func decode(kind string, raw json.RawMessage) ([]byte, bool) {
	var text string
	isText := len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &text) == nil
	switch kind {
	case "json", "": // json is the default
		if !isText { // a value as it is
			return bytes.Clone(raw), len(raw) > 0
		}
		// By the document it is in base64; some have seen the JSON itself.
		body, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !json.Valid(body) {
			body = []byte(text)
		}
		return unquoted(body), json.Valid(body)
	case "bytes":
		if body, err := base64.StdEncoding.DecodeString(text); isText && err == nil {
			return body, true
		}
	case "text":
		if isText {
			return []byte(text), true
		}
	}
	if isText {
		return []byte(text), false
	}
	return bytes.Clone(raw), false
}

// unquoted returns the object that is the text of a JSON string: what a producer sends
// that calls JSON.stringify where Cloudflare does so itself. Any other body is left alone.
func unquoted(body []byte) []byte {
	var text string
	if json.Unmarshal(body, &text) == nil && strings.HasPrefix(strings.TrimSpace(text), "{") && json.Valid([]byte(text)) {
		return []byte(text)
	}
	return body
}
