package github

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// postDispatch starts a run, or says what is wrong in GitHub's own words.
// https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event
func (s *Server) postDispatch(r *http.Request) answer {
	var body struct {
		Ref     *string        `json:"ref"`
		Inputs  map[string]any `json:"inputs"`
		Details bool           `json:"return_run_details"`
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	var keys map[string]json.RawMessage
	if err != nil || json.Unmarshal(data, &keys) != nil {
		return refusal(http.StatusBadRequest, "Problems parsing JSON")
	}
	for key := range keys {
		// The newer API names the run unasked, and has no such key any more.
		details := key == "return_run_details" && s.opts.RunDetails != DetailsRefused && version(r) != newVersion
		if key != "ref" && key != "inputs" && !details {
			return refusal(http.StatusBadRequest, "Invalid request.\n\n%q is not a permitted key.", key)
		}
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return refusal(http.StatusUnprocessableEntity, "Invalid request.")
	}
	if body.Ref == nil {
		return refusal(http.StatusUnprocessableEntity, "Invalid request.\n\n\"ref\" wasn't supplied.")
	}

	d, err := s.definitionOf(r.PathValue("workflow"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return notFound()
	case err != nil:
		return refusal(http.StatusUnprocessableEntity, "Invalid Argument - failed to parse workflow: %v", err)
	}
	ref, ok := s.ref(*body.Ref)
	if !ok {
		return refusal(http.StatusUnprocessableEntity, "No ref found for: %s", *body.Ref)
	}
	if !d.dispatch {
		return refusal(http.StatusUnprocessableEntity, "Workflow does not have 'workflow_dispatch' trigger")
	}
	if slices.Contains(s.opts.Disabled, d.file()) {
		return refusal(http.StatusUnprocessableEntity, "Cannot trigger a 'workflow_dispatch' on a disabled workflow")
	}
	typed, wrong := d.check(body.Inputs)
	if wrong != "" {
		return refusal(http.StatusUnprocessableEntity, "%s", wrong)
	}
	run, err := s.submit(d, ref, typed)
	if err != nil {
		return refusal(http.StatusServiceUnavailable, "%v", err)
	}
	if version(r) != newVersion && (!body.Details || s.opts.RunDetails == DetailsIgnored) {
		return answer{status: http.StatusNoContent}
	}
	return answer{status: http.StatusOK, body: map[string]any{
		"workflow_run_id": run.id,
		"run_url":         s.repoURL() + "/actions/runs/" + strconv.FormatInt(run.id, 10),
		"html_url":        s.htmlURL() + "/actions/runs/" + strconv.FormatInt(run.id, 10),
	}}
}

// ref returns the name of the branch or tag, and whether there is one.
func (s *Server) ref(name string) (string, bool) {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "refs/heads/"), "refs/tags/")
	return name, slices.Contains(s.opts.Refs, name)
}

// maxInputs is the length that the inputs may have as compact JSON, in characters.
const maxInputs = 65535

// check returns the inputs of a run with their types, and defaults where nothing is
// given; or what GitHub finds wrong with those given.
func (d *definition) check(given map[string]any) (typed map[string]any, wrong string) {
	if n := length(given); n > maxInputs {
		return nil, "inputs are too large."
	}
	var unexpected []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.ContainsFunc(d.inputs, func(in input) bool { return in.name == name }) {
			unexpected = append(unexpected, name)
		}
	}
	if len(unexpected) > 0 {
		list, _ := json.Marshal(unexpected) // strings
		return nil, "Unexpected inputs provided: " + string(list)
	}
	typed = map[string]any{}
	for _, in := range d.inputs {
		v, ok := given[in.name]
		text, scalar := scalarText(v)
		switch {
		case ok && !scalar:
			return nil, fmt.Sprintf("Invalid value for input '%s'", in.name)
		case !ok:
			text = in.Default
		}
		// A flag that is false counts as provided; an empty text does not.
		if in.Required && text == "" && in.Type != "boolean" {
			return nil, fmt.Sprintf("Required input '%s' not provided", in.name)
		}
		if ok || text != "" {
			if !in.allows(text) {
				return nil, fmt.Sprintf("Provided value '%s' for input '%s' not in the list of allowed values", text, in.name)
			}
		}
		typed[in.name] = in.typed(text)
	}
	return typed, ""
}

// allows reports whether text is a value of the input.
func (in input) allows(text string) bool {
	switch in.Type {
	case "boolean":
		return text == "true" || text == "false"
	case "choice":
		return slices.Contains(in.Options, text)
	case "number":
		_, err := strconv.ParseFloat(text, 64)
		return err == nil
	}
	return true
}

// typed returns text as the inputs context of a run holds it.
func (in input) typed(text string) any {
	switch in.Type {
	case "boolean":
		return text == "true"
	case "number":
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f
		}
	}
	return text
}

// scalarText returns a JSON value as text, and whether it is one that an input may have.
func scalarText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

// length counts characters, not bytes.
func length(inputs map[string]any) int {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(inputs) // it has just been decoded
	return utf8.RuneCount(bytes.TrimSpace(b.Bytes()))
}
