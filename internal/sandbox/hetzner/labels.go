package hetzner

import (
	"regexp"
	"slices"
	"strings"
)

// The shapes of a label: https://docs.hetzner.cloud/reference/cloud#labels
var (
	labelName  = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?$`)
	labelValue = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?)?$`)
	dnsName    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
)

func checkLabels(labels *map[string]string) error {
	if labels == nil {
		return nil
	}
	for k, v := range *labels {
		if !validKey(k) {
			return invalid("labels", "label key %q is invalid", k)
		}
		if !labelValue.MatchString(v) {
			return invalid("labels", "label value %q is invalid", v)
		}
	}
	return nil
}

func validKey(key string) bool {
	prefix, name, prefixed := strings.Cut(key, "/")
	if !prefixed {
		return labelName.MatchString(key)
	}
	return labelName.MatchString(name) && len(prefix) <= 253 && dnsName.MatchString(prefix) && prefix != "hetzner.cloud"
}

// A selector is a list of conditions, all of which labels have to meet.
type selector []condition

type condition struct {
	key    string
	values []string // nil: the key is present, with any value
	not    bool
}

func (s selector) matches(labels map[string]string) bool {
	for _, c := range s {
		v, ok := labels[c.key]
		met := ok && (c.values == nil || slices.Contains(c.values, v))
		if met == c.not {
			return false
		}
	}
	return true
}

// expression is one condition of a selector, spaces aside.
var expression = regexp.MustCompile(`^(!?)([^\s!=,()]+)(?:\s*(==|=|!=)\s*([^\s!=,()]*)|\s+(in|notin)\s*\(([^()]*)\))?$`)

// parseSelector reads a label selector.
// https://docs.hetzner.cloud/reference/cloud#label-selector
func parseSelector(text string) (selector, error) {
	var s selector
	for _, part := range splitOutside(text) {
		m := expression.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil || !validKey(m[2]) || m[1] != "" && m[3]+m[5] != "" {
			return nil, invalid("label_selector", "invalid label selector")
		}
		c := condition{key: m[2], not: m[1] != "" || m[3] == "!=" || m[5] == "notin"}
		switch {
		case m[3] != "":
			c.values = []string{m[4]}
		case m[5] != "":
			c.values = []string{}
			for v := range strings.SplitSeq(m[6], ",") {
				c.values = append(c.values, strings.TrimSpace(v))
			}
		}
		s = append(s, c)
	}
	return s, nil
}

// splitOutside splits text at the commas that stand outside parentheses.
func splitOutside(text string) []string {
	if text == "" {
		return nil
	}
	var parts []string
	depth, from := 0, 0
	for i, c := range text {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				parts = append(parts, text[from:i])
				from = i + 1
			}
		}
	}
	return append(parts, text[from:])
}
