package pulumi

import (
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// The types that this package knows by name.
const (
	stackType    = "pulumi:pulumi:Stack"
	providerType = "pulumi:providers:" // what the types of providers begin with
	serverType   = "hcloud:index/server:Server"
)

// What is kept of what is said during an update, so that a program that prints without end
// takes no memory without end. What matters stands in the first lines.
const (
	maxProblems = 1000
	maxMessage  = 8 << 10 // bytes of each
)

// A report is what the engine told during one preview or update. The zero report is an
// empty one.
type report struct {
	live   bool // it is of an update
	broken bool // an event was lost
	tell   func(Progress)
	clean  func(string) string

	begun    []apitype.StepEventMetadata // steps, in order
	ended    []apitype.StepEventMetadata
	failed   []apitype.StepEventMetadata
	problems []apitype.DiagnosticEvent // what is not just information
	olds     map[string]any            // the stack's outputs before it
	outputs  map[string]any            // and after it; in a preview they may be unknown
	started  map[string]time.Time      // by URN
	summary  map[apitype.OpType]int    // the engine's own count of steps; nil before its end
}

func (r *report) add(e apitype.EngineEvent) {
	switch {
	case e.ResourcePreEvent != nil:
		r.begin(e.ResourcePreEvent.Metadata)
	case e.ResOutputsEvent != nil:
		r.end(e.ResOutputsEvent.Metadata)
	case e.ResOpFailedEvent != nil:
		m := e.ResOpFailedEvent.Metadata
		r.failed = append(r.failed, m)
		r.progress(Failed, m)
	case e.SummaryEvent != nil:
		r.summary = e.SummaryEvent.ResourceChanges
	case e.DiagnosticEvent != nil && e.DiagnosticEvent.Severity != "debug" && !e.DiagnosticEvent.Ephemeral:
		if d := *e.DiagnosticEvent; len(r.problems) < maxProblems {
			d.Message = strings.ToValidUTF8(d.Message[:min(len(d.Message), maxMessage)], "")
			r.problems = append(r.problems, d)
		}
	}
}

// whole reports whether r knows of every step that could do harm: a guard that has not
// seen a deletion cannot refuse it.
func (r *report) whole() bool {
	seen := map[apitype.OpType]int{}
	for _, m := range r.begun {
		seen[m.Op]++
	}
	for op, n := range r.summary {
		if n > seen[op] && op != apitype.OpSame {
			return false
		}
	}
	return !r.broken && r.summary != nil
}

func (r *report) begin(m apitype.StepEventMetadata) {
	if m.Type == stackType {
		r.learnOlds(m)
	}
	r.begun = append(r.begun, m)
	if r.started == nil {
		r.started = map[string]time.Time{}
	}
	r.started[m.URN] = time.Now()
	r.progress(Started, m)
}

func (r *report) end(m apitype.StepEventMetadata) {
	if m.Type == stackType {
		r.learnOlds(m)
		if m.New != nil && m.New.Outputs != nil {
			r.outputs = m.New.Outputs
		}
	}
	r.ended = append(r.ended, m)
	r.progress(Finished, m)
}

func (r *report) learnOlds(m apitype.StepEventMetadata) {
	if m.Old != nil && len(m.Old.Outputs) > 0 {
		r.olds = m.Old.Outputs
	}
}

func (r *report) progress(d Doing, m apitype.StepEventMetadata) {
	if c, ok := change(m); ok && r.live && c.Type != stackType {
		p := Progress{Doing: d, Change: c, Elapsed: time.Since(r.started[m.URN])}
		if d == Failed {
			p.Text = r.clean(firstLine(r.problemOf(m.URN)))
		}
		r.tell(p)
	}
}

// problemOf returns what was said about a resource; empty if nothing was.
func (r *report) problemOf(urn string) string {
	for _, d := range r.problems {
		if d.URN == urn && d.Severity == "error" {
			return d.Message
		}
	}
	return ""
}

// changes returns what a preview planned, or an update did.
func (r *report) changes() []provision.Change {
	steps := r.begun
	if r.live {
		steps = r.ended
	}
	var list []provision.Change
	for _, m := range steps {
		if c, ok := change(m); ok {
			list = merge(list, []provision.Change{c})
		}
	}
	return list
}

// unfinished returns the creates that an update has begun, and of which it is not certain
// that nothing was made: they have not ended, or they failed when there was an id already.
// Where the update was stopped, that made the others fail too.
func (r *report) unfinished(stopped bool) []apitype.StepEventMetadata {
	ended, failed := map[string]bool{}, map[string]apitype.StepEventMetadata{}
	for _, m := range r.ended {
		ended[m.URN] = true
	}
	for _, m := range r.failed {
		failed[m.URN] = m
	}
	var list []apitype.StepEventMetadata
	for _, m := range r.begun {
		if c, ok := change(m); !ok || c.Op != provision.Create || m.New == nil || !m.New.Custom || ended[m.URN] {
			continue
		}
		f, is := failed[m.URN]
		if is && f.New != nil {
			m = f
		}
		if !is || stopped || m.New.ID != "" {
			list = append(list, m)
		}
	}
	return list
}

// change returns what a step changes; false if that is nothing that anybody would miss:
// providers are bookkeeping, and so is the stack itself, once it is there.
func change(m apitype.StepEventMetadata) (provision.Change, bool) {
	op, ok := map[apitype.OpType]provision.Op{
		apitype.OpCreate:            provision.Create,
		apitype.OpImport:            provision.Create,
		apitype.OpUpdate:            provision.Update,
		apitype.OpReplace:           provision.Replace,
		apitype.OpCreateReplacement: provision.Replace,
		apitype.OpDeleteReplaced:    provision.Replace,
		apitype.OpImportReplacement: provision.Replace,
		apitype.OpDelete:            provision.Delete,
	}[m.Op]
	switch {
	case !ok, strings.HasPrefix(m.Type, providerType):
		return provision.Change{}, false
	case m.Type == stackType && op != provision.Create:
		return provision.Change{}, false
	}
	return provision.Change{Op: op, Type: m.Type, Name: nameOf(m.URN)}, true
}

// stackIsNew reports whether nothing was ever recorded in the stack.
func (r *report) stackIsNew() bool {
	for _, m := range r.begun {
		if m.Type == stackType {
			return m.Op == apitype.OpCreate
		}
	}
	return false
}

// nameOf returns the name that a program gave to the resource with a URN; of what is none, all.
func nameOf(urn string) string {
	if i := strings.LastIndex(urn, "::"); i >= 0 {
		return urn[i+len("::"):]
	}
	return urn
}
