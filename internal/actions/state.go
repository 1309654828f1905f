package actions

import "fmt"

// SaveState leaves a value for the post part of the action, which reads it with [Action.State].
// Outside the runner there is none, and nothing is done.
func (a *Action) SaveState(name, value string) error {
	file := a.env("GITHUB_STATE")
	if file == "" {
		return nil
	}
	if err := appendPair(file, name, value); err != nil {
		return fmt.Errorf("state %s: %w", name, err)
	}
	return nil
}

// State returns what the main part has saved under name; "" if it saved nothing.
func (a *Action) State(name string) string { return a.env("STATE_" + name) }
