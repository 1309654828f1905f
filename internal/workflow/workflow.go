// Package workflow reads a GitHub Actions workflow file: the inputs that
// workflow_dispatch takes, their types, its name for a run and its concurrency. With
// that it types a job's inputs: the file decides what is a boolean and what a string,
// not a list in our code. [Check] says beforehand whether a file fits all jobs.
//
// To read more of the file, add a field to [Workflow] and its case in [Parse]; to add a
// type of input, add its constant and its case in carry.
package workflow

import (
	"slices"

	"github.com/pregoi/provision-tenant/internal/provision"
	"gopkg.in/yaml.v3"
)

// A Workflow is what a workflow file declares about being started by workflow_dispatch.
type Workflow struct {
	Name        string // as GitHub lists it; empty when the file has no name
	RunName     string // its run-name, expressions unevaluated; empty when it has none
	Declared    []Input
	Concurrency Concurrency // the whole workflow's; zero when it has none
}

// An Input is one input of workflow_dispatch, as it is declared.
type Input struct {
	Name        string
	Type        Type // as written; [String] when nothing is written
	Description string
	Required    bool
	Default     string   // as text; empty when there is none
	Options     []string // of a choice
}

// A Type is the type of an input.
type Type string

// The types that workflow_dispatch has.
// https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#onworkflow_dispatchinputsinput_idtype
const (
	String      Type = "string"
	Boolean     Type = "boolean"
	Choice      Type = "choice"
	Number      Type = "number"
	Environment Type = "environment"
)

// A Concurrency says what happens to runs of one group. Its fields are as written,
// expressions unevaluated; an empty one is not there.
type Concurrency struct {
	Group            string
	CancelInProgress string // "true" and "false" among others
	Queue            string // "max" keeps up to 100 runs waiting, "single" and empty one
}

// Input returns the declaration of the input called name, and whether there is one.
func (w Workflow) Input(name string) (Input, bool) {
	i := slices.IndexFunc(w.Declared, func(in Input) bool { return in.Name == name })
	if i < 0 {
		return Input{}, false
	}
	return w.Declared[i], true
}

// maxBytes is the size of a workflow file that is still read. GitHub's own limit is lower.
const maxBytes = 1 << 20

// Parse reads a workflow file. A file that workflow_dispatch cannot start is refused, and
// so is one that holds what GitHub would refuse in the parts that are read; the class
// of the error is [provision.Invalid].
func Parse(data []byte) (Workflow, error) {
	if len(data) > maxBytes {
		return Workflow{}, provision.Errorf(provision.Invalid, "workflow file is %d bytes long, more than %d", len(data), maxBytes)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return Workflow{}, provision.Errorf(provision.Invalid, "workflow file: %w", err)
	}
	var p parser
	w := p.workflow(&doc)
	if p.err != nil {
		return Workflow{}, provision.Errorf(provision.Invalid, "workflow file: %w", p.err)
	}
	return w, nil
}
