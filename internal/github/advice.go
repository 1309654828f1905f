package github

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// refused says what a refusal means that is no limit, and what to do about it.
func (w Workflow) refused(a answer) (provision.Class, string) {
	the := "the token"
	if w.App != nil {
		the = "the App"
	}
	text, _ := message(a.err)
	switch s := a.status(); {
	case s == http.StatusUnauthorized && w.App != nil:
		return provision.Denied, "check the App's installation: its token is refused, and a new one too"
	case s == http.StatusUnauthorized:
		return provision.Denied, "check GITHUB_TOKEN: it is wrong, expired or revoked"
	case s == http.StatusForbidden:
		return provision.Denied, "give " + the + " the permissions actions: write and contents: read on " + w.Repo
	case s == http.StatusNotFound && strings.Contains(text, "No commit found for the ref"):
		return provision.NotFound, "name a branch or tag of " + w.Repo + ": " + w.ref() + " is none"
	case s == http.StatusNotFound:
		return provision.NotFound, fmt.Sprintf("check that %s is on the default branch of %s, and that %s may write actions and read contents there: GitHub answers 404 to both", w.File, w.Repo, the)
	case s < 400:
		return provision.NotFound, "the repository has moved: name its new place"
	case s == http.StatusUnprocessableEntity, s == http.StatusBadRequest:
		return w.mend(text)
	}
	return provision.Internal, ""
}

// mend says whose fault it is that a dispatch is refused in these words, and what to do
// about it: NotFound where there is nothing to be started, whatever the inputs are. The words
// are seen in what people report, for GitHub documents none of them.
func (w Workflow) mend(text string) (provision.Class, string) {
	file := "the workflow file at " + w.ref()
	for _, known := range []struct {
		words string
		class provision.Class
		next  string
	}{
		{"No ref found for", provision.NotFound, "name a branch or tag of " + w.Repo + ": " + w.ref() + " is none"},
		{"disabled workflow", provision.NotFound, "enable " + w.File + " in the Actions of " + w.Repo + ": somebody has disabled it, or GitHub has after 60 quiet days"},
		{"does not have 'workflow_dispatch' trigger", provision.NotFound, "give " + file + " the trigger workflow_dispatch"},
		{"failed to parse workflow", provision.NotFound, "correct " + file + ": GitHub cannot read it"},
		{"Unexpected inputs provided", provision.Invalid, "declare these inputs in " + file + "; if they are there, it was pushed a moment ago: wait until GitHub has read it"},
		{"not in the list of allowed values", provision.Invalid, "give the input in " + file + " the type and the options that the message needs"},
		{"Required input", provision.Invalid, "fill the input that " + file + " requires, or require it no more"},
		{"inputs are too large", provision.Invalid, "send less: the inputs may have 65535 characters as JSON"},
	} {
		if strings.Contains(text, known.words) {
			return known.class, known.next
		}
	}
	return provision.Invalid, "compare the message with what the workflow declares at " + w.ref()
}

// advice says in words when a limit ends.
func advice(at, now time.Time) string {
	if at.IsZero() {
		return "send the same again in 60 seconds at the earliest"
	}
	wait := int(at.Sub(now).Round(time.Second).Seconds())
	if wait <= 60 {
		return fmt.Sprintf("send the same again in %d seconds at the earliest", wait)
	}
	return fmt.Sprintf("send the same again at %s at the earliest, in %d seconds", at.UTC().Format(time.RFC3339), wait)
}
