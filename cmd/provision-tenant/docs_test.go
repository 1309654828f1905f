package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
)

var update = flag.Bool("update", false, "write the README's tables anew")

// An actionFile is action.yml, as far as it is held to the code.
type actionFile struct {
	Inputs  namedList[struct{ Description, Default string }]
	Outputs namedList[struct{ Description string }]
	Runs    struct{ Using, Image string }
}

// A namedList is a YAML mapping that remembers its order.
type namedList[T any] []named[T]

type named[T any] struct {
	name  string
	value T
}

func (l *namedList[T]) UnmarshalYAML(n *yaml.Node) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		var v T
		if err := n.Content[i+1].Decode(&v); err != nil {
			return err
		}
		*l = append(*l, named[T]{n.Content[i].Value, v})
	}
	return nil
}

func readActionFile(t *testing.T) actionFile {
	t.Helper()
	data, err := os.ReadFile("../../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var f actionFile
	if err := yaml.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestActionFile(t *testing.T) {
	f := readActionFile(t)
	var gotIn, wantIn, gotOut, wantOut []string
	for _, in := range f.Inputs {
		gotIn = append(gotIn, in.name+"="+in.value.Default)
		if in.value.Description == "" {
			t.Errorf("input %s has no description", in.name)
		}
	}
	for _, in := range inputs {
		wantIn = append(wantIn, in.name+"="+in.fallback)
	}
	for _, out := range f.Outputs {
		gotOut = append(gotOut, out.name)
	}
	for _, out := range (report{}).outputs() {
		wantOut = append(wantOut, out.name)
	}
	if d := cmp.Diff(wantIn, gotIn); d != "" {
		t.Errorf("inputs: the code (-) and action.yml (+) differ:\n%s", d)
	}
	if d := cmp.Diff(wantOut, gotOut); d != "" {
		t.Errorf("outputs: the code (-) and action.yml (+) differ:\n%s", d)
	}
}

func TestStepNames(t *testing.T) {
	var got []string
	for _, s := range steps(nil, nil, nil, provision.Order{}, nil, pipeline.DNSPolicy{}, nil) {
		got = append(got, s.Name)
	}
	if d := cmp.Diff(stepNames, got); d != "" {
		t.Errorf("what the input step takes (-) and the list of steps (+) differ:\n%s", d)
	}
}

// TestWorkflow holds the workflow's step to the inputs and settings that there are.
func TestWorkflow(t *testing.T) {
	data, err := os.ReadFile("../../.github/workflows/provision-tenant.yml")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Jobs map[string]struct {
			Outputs map[string]string
			Steps   []struct {
				Uses string
				With map[string]string
				Env  map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	job := f.Jobs["provision"]
	i := slices.IndexFunc(job.Steps, func(s struct {
		Uses string
		With map[string]string
		Env  map[string]string
	}) bool {
		return s.Uses == "./"
	})
	if i < 0 {
		t.Fatal("no step uses ./")
	}
	for name := range job.Steps[i].With {
		if !slices.ContainsFunc(inputs, func(in input) bool { return in.name == name }) {
			t.Errorf("the workflow passes %s, which is no input", name)
		}
	}
	for _, name := range provision.Fields() {
		if job.Steps[i].With[name] == "" {
			t.Errorf("the workflow does not pass %s", name)
		}
	}
	for _, s := range settings {
		if job.Steps[i].Env[s.name] == "" {
			t.Errorf("the workflow does not pass %s", s.name)
		}
		if s.secret != strings.Contains(job.Steps[i].Env[s.name], "secrets.") {
			t.Errorf("the workflow passes %s as %s; is it a secret? %v", s.name, job.Steps[i].Env[s.name], s.secret)
		}
	}
	for _, out := range (report{}).outputs() {
		if job.Outputs[out.name] == "" {
			t.Errorf("the workflow's job does not pass on the output %s", out.name)
		}
	}
}

// TestReadme holds the README's tables to the code and action.yml.
func TestReadme(t *testing.T) {
	const name = "../../README.md"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f := readActionFile(t)
	var in, out, env, exits []string
	for _, i := range f.Inputs {
		in = append(in, fmt.Sprintf("| `%s` | %s | %s |", i.name, code(i.value.Default), cellOf(i.value.Description)))
	}
	for _, o := range f.Outputs {
		out = append(out, fmt.Sprintf("| `%s` | %s |", o.name, cellOf(o.value.Description)))
	}
	for _, s := range settings {
		secret := ""
		if s.secret {
			secret = " (secret)"
		}
		env = append(env, fmt.Sprintf("| `%s` | %s%s |", s.name, s.usage, secret))
	}
	exits = append(exits, "| 0 | | | done |")
	for _, c := range []struct {
		class   provision.Class
		meaning string
	}{
		{provision.Internal, "none of the others; what exists is kept"},
		{provision.Invalid, "bad input or usage"},
		{provision.NotFound, "what was named does not exist"},
		{provision.Denied, "not authorised: a token is missing, wrong or too weak"},
		{provision.Conflict, "owned by another tenant, or not what it should be"},
		{provision.Busy, "try again later: locked, rate-limited, unavailable"},
		{provision.NoCapacity, "the vendor has no such server to give"},
		{provision.Cancelled, "somebody stopped it"},
	} {
		err := provision.Errorf(c.class, "example")
		again := "no"
		if provision.Retryable(err) {
			again = "yes"
		}
		exits = append(exits, fmt.Sprintf("| %d | `%s` | %s | %s |", provision.ExitStatus(err), c.class, again, c.meaning))
	}
	readme := string(data)
	for heading, rows := range map[string][]string{
		"### Inputs": in, "### Outputs": out, "### Environment": env, "### Exit status, of all programs": exits,
	} {
		from, to := table(t, readme, heading)
		want := strings.Join(rows, "\n") + "\n"
		if *update {
			readme = readme[:from] + want + readme[to:]
		} else if d := cmp.Diff(want, readme[from:to]); d != "" {
			t.Errorf("%s: run the test with -update; the code (-) and the README (+) differ:\n%s", heading, d)
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(readme), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// table returns where the rows below a heading's table head begin and end.
func table(t *testing.T, text, heading string) (from, to int) {
	t.Helper()
	_, after, ok := strings.Cut(text, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the README has no heading %q", heading)
	}
	rule := strings.Index(after, "\n| --")
	from = len(text) - len(after) + rule + 1
	from += strings.Index(text[from:], "\n") + 1
	to = from + strings.Index(text[from:], "\n\n") + 1
	return from, to
}

// cellOf is a text as a cell of a table has it, which ends at a | .
func cellOf(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
