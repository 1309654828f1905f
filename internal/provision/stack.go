package provision

import "fmt"

// A StackPlan is what an update of a stack would do, found out without doing it.
type StackPlan struct {
	Changes []Change
	// Servers are the job's, as the stack exports them today; empty when it has none yet.
	Servers []Server
}

// A StackResult is what an update of a stack did.
type StackResult struct {
	Changes []Change
	Servers []Server // the job's, the app server first; at least one
}

// A Change is what an update does to one resource.
type Change struct {
	Op   Op     `json:"op"`
	Type string `json:"type"` // as Pulumi spells it: "hcloud:index/server:Server"
	Name string `json:"name"`
}

func (c Change) String() string { return fmt.Sprintf("%s %s %s", c.Op, c.Type, c.Name) }

// An Op is what is done to a resource.
type Op string

// The operations that change something.
const (
	Create  Op = "create"
	Update  Op = "update"
	Replace Op = "replace"
	Delete  Op = "delete"
)
