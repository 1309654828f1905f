package github

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nektos/act/pkg/model"
	"gopkg.in/yaml.v3"
)

const workflowDir = ".github/workflows"

// A definition is one workflow file, read as GitHub reads it. It does not use
// internal/workflow, so that the two can find each other's mistakes.
type definition struct {
	id   int64
	path string // in the repository
	*model.Workflow
	dispatch    bool // it has the workflow_dispatch trigger
	inputs      []input
	runName     string
	concurrency concurrency
}

// An input is one that workflow_dispatch takes.
type input struct {
	name string
	model.WorkflowDispatchInput
}

// A concurrency is a workflow's, unevaluated.
type concurrency struct{ group, cancel, queue string }

// definitionOf returns the workflow that name means: a file's name or an id.
func (s *Server) definitionOf(name string) (*definition, error) {
	files, err := fs.Glob(s.opts.Files, workflowDir+"/*.y*ml")
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	for i, file := range files {
		id := int64(161335000 + i)
		if path.Base(file) != name && file != name && strconv.FormatInt(id, 10) != name {
			continue
		}
		data, err := fs.ReadFile(s.opts.Files, file)
		if err != nil {
			return nil, err
		}
		if s.opts.Runner != RunnerActs {
			return s.known.read(id, file, data)
		}
		d := &definition{id: id, path: file}
		return d, d.read(data) // a run writes into it
	}
	return nil, fs.ErrNotExist
}

// Definitions keeps the workflow files that were read, for runs that are not carried out.
type definitions struct {
	mu    sync.Mutex
	files map[string]known // by path
}

// A known is a file and what it was read as.
type known struct {
	data []byte
	d    *definition
	err  error
}

func (k *definitions) read(id int64, file string, data []byte) (*definition, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.files[file]; f.d != nil && f.d.id == id && bytes.Equal(f.data, data) {
		return f.d, f.err
	}
	f := known{data: data, d: &definition{id: id, path: file}}
	f.err = f.d.read(data)
	if k.files == nil {
		k.files = map[string]known{}
	}
	k.files[file] = f
	return f.d, f.err
}

// read fills d from the file's text. An error says what GitHub would not take.
func (d *definition) read(data []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return err
	}
	if len(doc.Content) == 0 {
		return errors.New("the file is empty")
	}
	root := doc.Content[0]
	d.runName = value(root, "run-name")
	if c := child(root, "concurrency"); c != nil && c.Kind == yaml.ScalarNode {
		d.concurrency.group = c.Value
	} else if c != nil {
		d.concurrency = concurrency{value(c, "group"), value(c, "cancel-in-progress"), value(c, "queue")}
		remove(c, "queue") // younger than act's schema
	}
	rest, err := yaml.Marshal(&doc)
	if err != nil {
		return err
	}
	if d.Workflow, err = model.ReadWorkflow(bytes.NewReader(rest), false); err != nil {
		return err
	}
	if d.Workflow.Name == "" {
		d.Workflow.Name = d.path
	}
	if err := d.trigger(&d.RawOn); err != nil {
		return err
	}
	return d.valid()
}

func (d *definition) trigger(on *yaml.Node) error {
	const event = "workflow_dispatch"
	switch on.Kind {
	case yaml.ScalarNode:
		d.dispatch = on.Value == event
	case yaml.SequenceNode:
		d.dispatch = slices.ContainsFunc(on.Content, func(n *yaml.Node) bool { return n.Value == event })
	case yaml.MappingNode:
		n := child(on, event)
		d.dispatch = n != nil
		inputs := child(n, "inputs")
		if inputs == nil || inputs.Kind != yaml.MappingNode {
			return nil
		}
		for i := 0; i+1 < len(inputs.Content); i += 2 {
			in := input{name: inputs.Content[i].Value}
			if err := inputs.Content[i+1].Decode(&in.WorkflowDispatchInput); err != nil {
				return err
			}
			if in.Type == "" {
				in.Type = "string"
			}
			d.inputs = append(d.inputs, in)
		}
	}
	return nil
}

func (d *definition) valid() error {
	if len(d.inputs) > 25 {
		return errors.New("you may only define up to 25 `inputs` for a `workflow_dispatch` event")
	}
	for _, in := range d.inputs {
		if !slices.Contains([]string{"string", "boolean", "choice", "number", "environment"}, in.Type) {
			return fmt.Errorf("unexpected type %q of input %q", in.Type, in.name)
		}
		if in.Type == "choice" && (len(in.Options) == 0 || in.Default != "" && !slices.Contains(in.Options, in.Default)) {
			return fmt.Errorf("options of input %q do not hold its default, or nothing", in.name)
		}
	}
	switch c := d.concurrency; {
	case c.queue != "" && c.queue != "single" && c.queue != "max":
		return fmt.Errorf("unexpected value %q of concurrency.queue", c.queue)
	case c.queue == "max" && c.cancel == "true":
		return errors.New("concurrency cannot have queue: max and cancel-in-progress: true")
	}
	return nil
}

// child returns the value of key in the mapping n; nil if there is none.
func child(n *yaml.Node, key string) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if v := n.Content[i+1]; n.Content[i].Value == key {
			if v.Kind == yaml.AliasNode {
				return v.Alias
			}
			return v
		}
	}
	return nil
}

// value returns the scalar of key in n; "" if there is none.
func value(n *yaml.Node, key string) string {
	if v := child(n, key); v != nil && v.Kind == yaml.ScalarNode && v.Tag != "!!null" {
		return v.Value
	}
	return ""
}

func remove(n *yaml.Node, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}

// file returns the workflow's file name.
func (d *definition) file() string { return strings.TrimPrefix(d.path, workflowDir+"/") }
