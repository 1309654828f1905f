package github

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// secretValues returns what the runner masks before a job begins.
func (s *Server) secretValues() []string {
	values := slices.Collect(maps.Values(s.opts.Secrets))
	return append(values, s.opts.Token)
}

// mask hides value from now on: the whole of it, each of its lines, and the ways in which
// it is often written. Like the runner's, it does not know parts of a value.
func (j *journal) mask(value string) {
	for _, v := range append(strings.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == '\r' }), value) {
		if v = strings.TrimSpace(v); v == "" {
			continue
		}
		for _, form := range append(spellings(v), v) {
			if form != "" && !slices.Contains(j.masks, form) {
				j.masks = append(j.masks, form)
			}
		}
	}
	slices.SortFunc(j.masks, func(a, b string) int { return len(b) - len(a) })
}

// spellings returns v as JSON and URLs spell it, and as base64 does at each of the three
// places where it can begin.
func spellings(v string) []string {
	list := []string{url.QueryEscape(v), url.PathEscape(v)}
	if b, err := json.Marshal(v); err == nil {
		list = append(list, strings.Trim(string(b), `"`))
	}
	for shift := range 3 {
		if len(v) <= shift {
			break
		}
		whole := v[shift:]
		whole = whole[:len(whole)/3*3] // what does not depend on what follows
		if len(whole) >= 6 {
			list = append(list, base64.StdEncoding.EncodeToString([]byte(whole)))
		}
	}
	return list
}

// hide returns text with every mask replaced.
func (j *journal) hide(text string) string {
	for _, m := range j.masks {
		text = strings.ReplaceAll(text, m, maskedText)
	}
	return text
}
