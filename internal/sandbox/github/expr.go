package github

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/nektos/act/pkg/exprparser"
	"github.com/nektos/act/pkg/model"
	"gopkg.in/yaml.v3"
)

// A scope is where an expression is evaluated: what contexts it sees.
type scope struct {
	env *exprparser.EvaluationEnvironment
	in  exprparser.Config
}

// scope returns the contexts that a run has before any of its jobs: github, inputs, vars.
func (s *Server) scope(r *run, attempt int) scope {
	return scope{env: &exprparser.EvaluationEnvironment{
		Github: &model.GithubContext{
			Event:           map[string]any{"inputs": texts(r.inputs)},
			Workflow:        r.def.Name,
			RunAttempt:      strconv.Itoa(attempt),
			RunID:           strconv.FormatInt(r.id, 10),
			RunNumber:       strconv.Itoa(r.number),
			Actor:           actor,
			Repository:      s.opts.Repo,
			RepositoryOwner: s.owner(),
			EventName:       "workflow_dispatch",
			Sha:             s.sha(r.ref),
			Ref:             "refs/heads/" + r.ref,
			RefName:         r.ref,
			RefType:         "branch",
			Token:           s.opts.Token,
			RetentionDays:   "90",
			ServerURL:       r.base,
			APIURL:          r.base,
			GraphQLURL:      r.base + "/graphql",
		},
		Inputs: r.inputs,
		Vars:   s.opts.Vars,
		Env:    map[string]string{},
		Job:    &model.JobContext{Status: "success"},
	}}
}

// inJob returns a copy of sc that also sees what a job sees.
func (s *Server) inJob(sc scope, d *definition, job string, needs map[string]exprparser.Needs) scope {
	env := *sc.env
	github := *env.Github
	github.Job = job
	env.Github = &github
	env.Secrets = maps.Clone(s.opts.Secrets)
	if env.Secrets == nil {
		env.Secrets = map[string]string{}
	}
	env.Secrets["GITHUB_TOKEN"] = s.opts.Token
	env.Needs = needs
	env.Steps = map[string]*model.StepResult{}
	env.Runner = map[string]any{"os": "Linux", "arch": "X64", "name": runnerName, "environment": "github-hosted"}
	env.Job = &model.JobContext{Status: "success"}
	return scope{env: &env, in: exprparser.Config{Context: "job", Run: &model.Run{Workflow: d.Workflow, JobID: job}}}
}

// texts returns inputs as github.event.inputs holds them: all strings.
func texts(inputs map[string]any) map[string]any {
	m := make(map[string]any, len(inputs))
	for name, v := range inputs {
		m[name] = toText(v)
	}
	return m
}

// text evaluates the expressions in a string.
func (sc scope) text(in string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(in, "${{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		end := closing(rest)
		if end < 0 {
			return "", fmt.Errorf("the expression in %q is not closed", in)
		}
		v, err := exprparser.NewInterpeter(sc.env, sc.in).Evaluate(rest[:end], exprparser.DefaultStatusCheckNone)
		if err != nil {
			return "", fmt.Errorf("expression %q: %w", rest[:end], err)
		}
		out.WriteString(toText(v))
		in = rest[end+2:]
	}
}

// closing returns where the braces that end an expression begin; -1 if nowhere. Inside
// single quotes they end nothing.
func closing(s string) int {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '\'':
			quoted = !quoted
		case !quoted && strings.HasPrefix(s[i:], "}}"):
			return i
		}
	}
	return -1
}

// all evaluates the values of a map.
func (sc scope) all(m map[string]string) (map[string]string, error) {
	out := make(map[string]string, len(m))
	for k, v := range m {
		text, err := sc.text(v)
		if err != nil {
			return nil, err
		}
		out[k] = text
	}
	return out, nil
}

// holds evaluates the condition of an if. Without a status function success() is meant too.
func (sc scope) holds(cond yaml.Node) (bool, error) {
	expr := strings.TrimSpace(cond.Value)
	if inner, ok := strings.CutPrefix(expr, "${{"); ok && closing(inner) == len(inner)-2 {
		expr = strings.TrimSpace(inner[:len(inner)-2])
	}
	v, err := exprparser.NewInterpeter(sc.env, sc.in).Evaluate(expr, exprparser.DefaultStatusCheckSuccess)
	if err != nil {
		return false, fmt.Errorf("condition %q: %w", expr, err)
	}
	return exprparser.IsTruthy(v), nil
}

// toText is how an expression's value becomes part of a string.
// https://docs.github.com/en/actions/reference/workflows-and-actions/expressions
func toText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		return "Array"
	}
	return "Object"
}
