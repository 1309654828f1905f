package workflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// What GitHub takes in one dispatch.
// https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event
const (
	MaxInputs     = 25    // inputs that a workflow may declare
	MaxInputsSize = 65535 // characters, not bytes, of all inputs as compact JSON
)

// Inputs returns the inputs that start w for job j, each with the type that w declares
// for it: true and false for a boolean, a number for a number, a string for the rest.
//
// GitHub takes an input only under a declared name, and a boolean or a choice only with
// a value of its own, to which the empty string does not belong. So a field that is empty
// is left out. A field that says something is never left out, and one that says "none"
// never lets the workflow fill in a default of its own.
//
// The error names everything that does not fit in one go; its class is
// [provision.Invalid], and [provision.FieldErrors] finds its parts.
func (w Workflow) Inputs(j provision.Job) (map[string]any, error) {
	message := j.Message()
	inputs := map[string]any{}
	var errs []error
	bad := func(field, value, reason string) {
		errs = append(errs, &provision.FieldError{Field: field, Value: value, Reason: reason})
	}
	for _, field := range provision.Fields() {
		text := message.Field(field)
		in, declared := w.Input(field)
		if !declared {
			if text != "" && !(flag(field) && text == "false") {
				bad(field, text, "is not an input of the workflow")
			}
			continue
		}
		value, reason := in.carry(field, text)
		if reason != "" {
			bad(field, text, reason)
		} else if value != nil {
			inputs[field] = value
		}
	}
	for _, in := range w.Declared {
		if in.Required && in.Default == "" && !slices.Contains(provision.Fields(), in.Name) {
			bad(in.Name, "", "is required by the workflow, and no field of the message fills it")
		}
	}
	if n := len(w.Declared); n > MaxInputs {
		bad("inputs", strconv.Itoa(n), fmt.Sprintf("is how many the workflow declares, more than the %d that GitHub takes", MaxInputs))
	}
	if n := size(inputs); n > MaxInputsSize {
		bad("inputs", strconv.Itoa(n), fmt.Sprintf("is their length as JSON, more than the %d characters that GitHub takes", MaxInputsSize))
	}
	if len(errs) > 0 {
		texts := strings.ReplaceAll(errors.Join(errs...).Error(), "\n", "; ")
		return nil, &provision.Error{Class: provision.Invalid, Text: "workflow inputs: " + texts, Err: errors.Join(errs...)}
	}
	return inputs, nil
}

// flag reports whether a field of the message says true or false.
func flag(field string) bool { return field == "create_new_server" || field == "dedicated" }

// carry returns text, the value of a field, as in takes it: nil if it is to be left out.
// The reason says why it cannot be carried; it is empty if it can.
func (in Input) carry(field, text string) (value any, reason string) {
	if reason := in.mismatch(field); reason != "" {
		return nil, reason
	}
	if text == "" {
		return nil, in.omit(field)
	}
	switch in.Type {
	case Boolean:
		return text == "true", ""
	case Number:
		// Only what comes back as it went in: 007 and 1e3 are names that look like numbers.
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || strconv.FormatFloat(f, 'f', -1, 64) != text {
			return nil, "is declared a number by the workflow, and is none"
		}
		return json.Number(text), ""
	case Choice:
		if !slices.Contains(in.Options, text) {
			return nil, "is not one of the workflow's choices: " + strings.Join(in.Options, ", ")
		}
	}
	return text, ""
}

// mismatch says why no value of the field fits the type of in; empty if one may.
func (in Input) mismatch(field string) string {
	switch in.Type {
	case String, Choice, Environment:
		return ""
	case Boolean:
		if !flag(field) {
			return "is declared a boolean by the workflow, and the field is text"
		}
		return ""
	case Number:
		if flag(field) {
			return "is declared a number by the workflow, and the field is true or false"
		}
		return ""
	}
	return fmt.Sprintf("is declared with the type %.40q, which workflow_dispatch does not have", in.Type)
}

// omit says why an empty field must not be left out; empty if it may.
func (in Input) omit(field string) string {
	switch {
	case in.Required && in.Default == "":
		return "is required by the workflow, and empty in the message"
	case in.Default != "" && field != "trace_id": // an absent trace may have any name
		return fmt.Sprintf("is empty, and the workflow would fill in its default %.80q", in.Default)
	}
	return ""
}

// size returns the length of inputs as GitHub counts it.
func size(inputs map[string]any) int {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(inputs); err != nil {
		panic("unreachable: " + err.Error()) // strings, booleans and valid numbers
	}
	return utf8.RuneCount(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}
