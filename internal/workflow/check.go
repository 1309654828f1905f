package workflow

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"gopkg.in/yaml.v3"
)

// A Severity says what comes of a [Finding].
type Severity string

// The severities.
const (
	Error   Severity = "error"   // a message would be refused or mistyped, or a run lost
	Warning Severity = "warning" // that may come about
)

// A Finding is one thing in a workflow file that does not fit our messages.
type Finding struct {
	Severity Severity `json:"severity"`
	Line     int      `json:"line,omitempty"`  // from 1; 0 for the whole file
	Field    string   `json:"field,omitempty"` // the input, or the key of the file; empty for the whole file
	What     string   `json:"what"`            // goes on after the field: "is not declared"
	Cure     string   `json:"cure"`
}

// Check says what in a workflow file does not fit our messages, in the order of its
// lines, with what is nowhere in it at the end. A file without an Error takes every message that [provision.ParseMessage] does, and a
// run that it has started can be found and is not dropped while it waits.
//
// To add a rule, write a method of checker and name it here.
func Check(data []byte) []Finding {
	w, err := Parse(data)
	c := &checker{w: w}
	if err != nil {
		return c.unreadable(data, err)
	}
	if err := yaml.Unmarshal(data, &c.doc); err != nil {
		return c.unreadable(data, err)
	}
	c.fields()
	c.others()
	c.runName()
	c.concurrency()
	slices.SortStableFunc(c.found, func(a, b Finding) int { return cmp.Compare(uint(a.Line-1), uint(b.Line-1)) }) // 0 is the greatest
	return c.found
}

// A checker gathers findings about one file.
type checker struct {
	w     Workflow
	doc   yaml.Node
	found []Finding
}

// add adds a finding about what lies at a path of keys, which it begins with.
func (c *checker) add(s Severity, field string, path []string, what, cure string) {
	c.found = append(c.found, Finding{Severity: s, Line: line(&c.doc, path), Field: field, What: what, Cure: cure})
}

// input is add for an input, or for one of its keys.
func (c *checker) input(s Severity, name, key, what, cure string) {
	path := []string{"on", trigger, "inputs", name}
	if key != "" {
		path = append(path, key)
	}
	c.add(s, name, path, what, cure)
}

// unreadable is all that is found in a file that GitHub would not start.
func (c *checker) unreadable(data []byte, err error) []Finding {
	f := Finding{Severity: Error, What: strings.TrimPrefix(err.Error(), "workflow file: "), Cure: "correct the file: GitHub does not start it either"}
	if _, after, ok := strings.Cut(f.What, "line "); ok {
		if n, _ := fmt.Sscanf(after, "%d:", &f.Line); n == 1 {
			_, f.What, _ = strings.Cut(after, ": ")
		}
	}
	if strings.Contains(f.What, noTrigger) {
		f.Field, f.Cure = "on", "add "+trigger+" to on, with the fields of a message as its inputs"
	}
	return []Finding{f}
}

// fields checks that every field of a message has an input that takes whatever it may hold.
func (c *checker) fields() {
	for _, field := range provision.Fields() {
		in, declared := c.w.Input(field)
		if !declared {
			c.input(Error, field, "", "is not declared, and a message that fills it is refused", "declare it under on."+trigger+".inputs, with type: "+string(fitting(field)))
			continue
		}
		if what := in.mismatch(field); what != "" {
			c.input(Error, field, "type", what, "give it type: "+string(fitting(field)))
			continue
		}
		c.typed(in)
		c.empty(in)
	}
}

// fitting is the type that a field's input best has.
func fitting(field string) Type {
	switch field {
	case "region":
		return Choice
	case "create_new_server":
		return Boolean
	}
	return String
}

// values are all that a field may hold; nil for a text of any kind.
func values(field string) []string {
	switch {
	case flag(field):
		return []string{"true", "false"}
	case field == "region":
		var regions []string
		for _, r := range placement.Regions() {
			regions = append(regions, string(r))
		}
		return regions
	}
	return nil
}

// typed checks a field's input by its type.
func (c *checker) typed(in Input) {
	want := values(in.Name)
	switch in.Type {
	case Number:
		c.input(Error, in.Name, "type", "is declared a number by the workflow, and the field is text", "give it type: "+string(fitting(in.Name)))
	case Environment:
		c.input(Warning, in.Name, "type", "takes the name of one of the repository's environments, and the field may hold another", "give it type: "+string(fitting(in.Name)))
	case Boolean:
		if in.Default != "" && in.Default != "true" && in.Default != "false" {
			c.input(Error, in.Name, "default", fmt.Sprintf("has the default %.40q, which is no boolean", in.Default), "make it true or false")
		}
	case Choice:
		if want == nil {
			c.input(Error, in.Name, "type", "is a choice, and the field may hold any text", "give it type: string")
			return
		}
		var missing []string
		for _, v := range want {
			if !slices.Contains(in.Options, v) {
				missing = append(missing, v)
			}
		}
		if len(missing) > 0 {
			c.input(Error, in.Name, "options", "does not have the choice "+strings.Join(missing, ", "), "add it to options")
		}
		if in.Default != "" && !slices.Contains(in.Options, in.Default) {
			c.input(Error, in.Name, "default", fmt.Sprintf("has the default %.40q, which is none of its options", in.Default), "make it one of them, or leave it out")
		}
	}
}

// empty checks what becomes of a field that says nothing: it is left out.
func (c *checker) empty(in Input) {
	if in.Name != "target_server_id" && in.Name != "trace_id" {
		return // always says something
	}
	switch reason := in.omit(in.Name); {
	case reason != "" && in.Default != "":
		c.input(Error, in.Name, "default", reason, "leave the default out, or make it ''")
	case reason != "":
		c.input(Error, in.Name, "required", "is required, and is empty in some messages", "make it required: false")
	}
}

// others checks the inputs that no message fills, and how many there are.
func (c *checker) others() {
	for _, in := range c.w.Declared {
		if slices.Contains(provision.Fields(), in.Name) {
			continue
		}
		if in.Required && in.Default == "" {
			c.input(Error, in.Name, "required", "is required, and no field of a message fills it", "give it a default, or make it required: false")
		}
	}
	if n := len(c.w.Declared); n > MaxInputs {
		c.add(Error, "inputs", []string{"on", trigger, "inputs"}, fmt.Sprintf("are %d, more than the %d that GitHub takes", n, MaxInputs), "remove what no message fills")
	}
}
