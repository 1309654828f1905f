package workflow

import (
	"errors"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// A parser walks the nodes of a workflow file and keeps the first thing that is wrong.
// It looks at nodes, not at decoded values: `default: 010` is text to GitHub, and an
// anchor may stand anywhere.
type parser struct{ err error }

func (p *parser) fail(n *yaml.Node, format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("line %d: %s", n.Line, fmt.Sprintf(format, args...))
	}
}

func (p *parser) workflow(doc *yaml.Node) Workflow {
	if doc.Kind != yaml.DocumentNode || resolve(doc.Content[0]).Kind != yaml.MappingNode {
		p.err = errors.New("it is no mapping")
		return Workflow{}
	}
	var w Workflow
	var on *yaml.Node
	p.each(doc.Content[0], "the file", func(key string, value *yaml.Node) {
		switch key {
		case "name":
			w.Name = p.text(value, key)
		case "run-name":
			w.RunName = p.text(value, key)
		case "concurrency":
			w.Concurrency = p.concurrency(value)
		case "on", "true":
			// A tool that writes YAML 1.1 turns the key on into true.
			if on != nil {
				p.fail(value, "on stands there twice")
			}
			on = value
		}
	})
	switch {
	case p.err != nil:
	case on == nil:
		p.err = errors.New("it has no on")
	default:
		w.Declared = p.on(on)
	}
	return w
}

const trigger = "workflow_dispatch"

// noTrigger is what is said of a file that has it not.
const noTrigger = "it does not have the workflow_dispatch trigger"

// on returns the inputs of workflow_dispatch. The trigger may be the whole of on, one of
// a list, or a key, whose value may be empty.
func (p *parser) on(n *yaml.Node) []Input {
	var list []Input
	found := false
	switch n = resolve(n); n.Kind {
	case yaml.ScalarNode:
		found = n.Value == trigger
	case yaml.SequenceNode:
		for _, item := range n.Content {
			found = found || p.text(item, "on") == trigger
		}
	case yaml.MappingNode:
		p.each(n, "on", func(key string, value *yaml.Node) {
			if key == trigger {
				found = true
				list = p.trigger(value)
			}
		})
	}
	if !found {
		p.fail(n, noTrigger)
	}
	return list
}

func (p *parser) trigger(n *yaml.Node) []Input {
	var list []Input
	p.each(n, "workflow_dispatch", func(key string, value *yaml.Node) {
		if key != "inputs" {
			p.fail(value, "workflow_dispatch has no %.40q", key)
			return
		}
		p.each(value, "inputs", func(name string, value *yaml.Node) {
			list = append(list, p.input(name, value))
		})
	})
	return list
}

func (p *parser) input(name string, n *yaml.Node) Input {
	in := Input{Name: name, Type: String}
	p.each(n, "input "+name, func(key string, value *yaml.Node) {
		switch key {
		case "type":
			in.Type = Type(p.text(value, key))
		case "description":
			in.Description = p.text(value, key)
		case "default":
			in.Default = p.text(value, key)
		case "required":
			switch v := p.text(value, key); v {
			case "true", "false", "":
				in.Required = v == "true"
			default:
				p.fail(value, "required of input %.80q is neither true nor false", name)
			}
		case "options":
			in.Options = p.list(value, "options of input "+name)
		}
	})
	return in
}

func (p *parser) concurrency(n *yaml.Node) Concurrency {
	if n = resolve(n); n.Kind == yaml.ScalarNode {
		return Concurrency{Group: p.text(n, "concurrency")}
	}
	var c Concurrency
	p.each(n, "concurrency", func(key string, value *yaml.Node) {
		switch key {
		case "group":
			c.Group = p.text(value, key)
		case "cancel-in-progress":
			c.CancelInProgress = p.text(value, key)
		case "queue":
			c.Queue = p.text(value, key)
		}
	})
	return c
}

// each calls f for every pair of the mapping n; null is an empty mapping.
func (p *parser) each(n *yaml.Node, what string, f func(key string, value *yaml.Node)) {
	n = resolve(n)
	if null(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n, "%.80s is no mapping", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content) && p.err == nil; i += 2 {
		// https://docs.github.com/en/actions/reference/workflows-and-actions/reusing-workflow-configurations#yaml-anchors-and-aliases
		if n.Content[i].ShortTag() == "!!merge" {
			p.fail(n.Content[i], "%.80s has a merge key (<<), which GitHub does not take", what)
		}
		key := p.text(n.Content[i], "a key of "+what)
		if seen[key] {
			p.fail(n.Content[i], "%.80q stands twice in %.80s", key, what)
		}
		seen[key] = true
		f(key, resolve(n.Content[i+1]))
	}
}

func (p *parser) list(n *yaml.Node, what string) []string {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "%.80s are no list", what)
		return nil
	}
	var list []string
	for _, item := range n.Content {
		list = append(list, p.text(item, what))
	}
	return list
}

// text returns a scalar as it is written; null is empty.
func (p *parser) text(n *yaml.Node, what string) string {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode {
		p.fail(n, "%.80s is no scalar", what)
		return ""
	}
	if null(n) {
		return ""
	}
	if n.ShortTag() == "!!bool" {
		// True and TRUE are booleans too, and GitHub's text of them is true.
		return strings.ToLower(n.Value)
	}
	return n.Value
}

func null(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// resolve returns what an alias stands for. An anchor never names an alias, so one step
// is enough.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
