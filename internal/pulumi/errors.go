package pulumi

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A failure is an error together with what follows from it for an update. Errors of the
// Automation API stop here: their text is the whole output of the command, secrets and
// all, and their predicates do not see through a wrapped one.
type failure struct {
	err       *provision.Error
	again     again
	missing   bool   // there is no such stack
	exists    bool   // there is such a stack already
	elsewhere bool   // Hetzner has no such server at this place, and may have one at another
	torn      bool   // a file of the backend was being written
	holder    string // who has the lock; empty if it is not known
	lockFile  string // the lock, where it is a file on this machine
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// again says when it makes sense to read the stack and try once more.
type again int

const (
	never    again = iota
	atOnce         // the stack is not what it was when it was read
	later          // the backend lost us
	unlocked       // somebody else is at it
)

// failureOf returns what follows from err; nothing, for one that is no failure.
func failureOf(err error) *failure {
	if f, ok := err.(*failure); ok {
		return f
	}
	return &failure{}
}

// A cause is how a failure shows itself in what pulumi says.
type cause struct {
	text  *regexp.Regexp
	class provision.Class
	says  string // "" for the words of the provider or of pulumi
	next  string
	then  failure
}

// causes are tried in order; what is not among them is internal.
var causes = []cause{
	{re(`no resource plugin '[^']*'|no language plugin '[^']*'|could not find plugin|plugin .* not found`), provision.Invalid,
		"", "put the plugin that is named into the image, or on the PATH", failure{}},
	{re(`the stack is currently locked by|\[409\] Conflict: Another update is currently in progress`), provision.Busy,
		"another update is in progress", "", failure{again: unlocked}},
	{re(`is not locked by update id|token expired`), provision.Busy,
		"pulumi's service gave the update to somebody else", "", failure{again: later}},
	{re(`no stack named .* found`), provision.NotFound, "there is no such stack", "", failure{missing: true}},
	{re(`stack '?.*'? already exists`), provision.Conflict, "it exists already", "", failure{exists: true}},
	{re(`violates plan|is not allowed by the plan|expected resource operations for .* but none were seen`), provision.Busy,
		"it was changed by somebody else at the same time", "", failure{again: atOnce}},
	{re(`(?m)^error: (failed to load checkpoint: |could not create stack: )?(EOF|unexpected end of JSON input)$`), provision.Internal, "the backend holds a file that was not written to its end", "", failure{again: later, torn: true}},
	{re(`incorrect passphrase|passphrase must be set`), provision.Denied,
		"the passphrase does not open the stack's secrets", "check PULUMI_CONFIG_PASSPHRASE", failure{}},
	{re(`PULUMI_ACCESS_TOKEN must be set|invalid access token|\[401\]|\[403\]`), provision.Denied,
		"pulumi's service does not let us in", "check PULUMI_ACCESS_TOKEN, and what it may do with the stack", failure{}},
	{re(`request rate-limit exceeded`), provision.Busy, "pulumi's service has had too many requests", "", failure{}},
	{re(`The Pulumi CLI encountered a fatal error`), provision.Internal, "pulumi met a bug of its own", "", failure{}},
}

func re(s string) *regexp.Regexp { return regexp.MustCompile(s) }

// vendorCode is how hcloud-go ends an error: the code, and the id of the request; of an
// action that failed, the action's.
var (
	vendorCode = regexp.MustCompile(`\(([a-z][a-z_]+)(?:, ([0-9A-Za-z-]+))?\)`)
	actionID   = regexp.MustCompile(`^[0-9]{1,15}$`)
)

// vendor is what follows from Hetzner's codes.
// https://docs.hetzner.cloud/reference/cloud#errors
var vendor = map[string]cause{
	"resource_unavailable":       {class: provision.NoCapacity, then: failure{elsewhere: true}},
	"placement_error":            {class: provision.NoCapacity, then: failure{elsewhere: true}},
	"no_space_left_in_location":  {class: provision.NoCapacity, then: failure{elsewhere: true}},
	"resource_limit_exceeded":    {class: provision.NoCapacity, next: "have the limit of the Hetzner project raised, then run the same job again"},
	"unauthorized":               {class: provision.Denied, next: "check HCLOUD_TOKEN of the region"},
	"token_readonly":             {class: provision.Denied, next: "give HCLOUD_TOKEN of the region a token that may write"},
	"forbidden":                  {class: provision.Denied, next: "check what HCLOUD_TOKEN of the region may do"},
	"rate_limit_exceeded":        {class: provision.Busy},
	"conflict":                   {class: provision.Busy},
	"locked":                     {class: provision.Busy},
	"maintenance":                {class: provision.Busy},
	"timeout":                    {class: provision.Busy},
	"bad_gateway":                {class: provision.Busy},
	"server_error":               {class: provision.Busy},
	"service_error":              {class: provision.Busy},
	"uniqueness_error":           {class: provision.Conflict, next: "find out whose it is that has this name at Hetzner; it does not carry this job's labels"},
	"protected":                  {class: provision.Conflict},
	"invalid_input":              {class: provision.Invalid},
	"deprecated_api_endpoint":    {class: provision.Invalid},
	"unsupported_error":          {class: provision.Invalid},
	"server_not_stopped":         {class: provision.Conflict},
	"resource_in_use":            {class: provision.Conflict},
	"image_not_found":            {class: provision.Invalid},
	"placement_group_not_spread": {class: provision.Invalid},
}

// classify says what err, which the Automation API returned while doing something, means.
func (s *session) classify(ctx context.Context, doing string, r *report, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return s.stopped(ctx)
	}
	last := s.cmd.last
	subject := fmt.Sprintf("%s of stack %s", doing, s.label)
	if last.late {
		return provision.Errorf(provision.Busy, "%s: pulumi did not end within %v and was stopped", subject, s.p.timeout())
	}
	if r != nil {
		if f := s.vendorFailure(subject, r); f != nil {
			return f
		}
	}
	said := last.stderr + "\n" + last.stdout
	if r != nil {
		for _, d := range r.problems {
			said += "\n" + d.Message
		}
	}
	if last.code == 6 { // the CLI's exit status for it
		said += "\nno stack named x found"
	}
	for _, c := range causes {
		m := c.text.FindString(said)
		if m == "" {
			continue
		}
		f := c.then
		says := c.says
		if says == "" {
			says = m
		}
		f.holder, f.lockFile = lockHolder(said)
		if f.again == unlocked && f.holder != "" {
			says = "it is locked by " + f.holder
		}
		f.err = &provision.Error{Class: c.class, Text: s.p.clean(subject + ": " + says), Next: c.next}
		return &f
	}
	return &provision.Error{Class: provision.Internal, Text: s.p.clean(subject + ": " + reason(r, last))}
}

// vendorFailure returns what Hetzner said about the first resource that failed; nil if
// it said nothing that we know.
func (s *session) vendorFailure(subject string, r *report) error {
	for _, d := range r.problems {
		if d.Severity != "error" || d.URN == "" {
			continue
		}
		for _, m := range vendorCode.FindAllStringSubmatch(d.Message, -1) {
			c, known := vendor[m[1]]
			if !known {
				continue
			}
			f := c.then
			words, request := firstLine(d.Message), ""
			if !actionID.MatchString(m[2]) {
				words, request = strings.ReplaceAll(words, m[0], "("+m[1]+")"), m[2] // it is said once
			}
			f.err = &provision.Error{Class: c.class, RequestID: request, Next: c.next,
				Text: s.p.clean(fmt.Sprintf("%s: %s: %s", subject, nameOf(d.URN), words))}
			return &f
		}
	}
	return nil
}

// reason returns the most telling line: about a resource, else what the program printed
// as an error, else the engine's, else the command's own.
func reason(r *report, last output) string {
	program, engine := "", ""
	if r != nil {
		for _, d := range r.problems {
			line := firstLine(ansi.ReplaceAllString(d.Message, ""))
			switch {
			case d.Severity == "error" && d.URN != "" && !strings.Contains(d.URN, stackType):
				return nameOf(d.URN) + ": " + line
			case d.Severity == "info#err" && strings.HasPrefix(strings.ToLower(line), "error"):
				program = cmp.Or(program, line)
			case d.Severity == "error" && line != "preview failed" && line != "update failed":
				engine = cmp.Or(engine, line)
			}
		}
	}
	if text := cmp.Or(program, engine); text != "" {
		return text
	}
	for line := range strings.Lines(last.stderr) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "error: "); ok {
			return text
		}
	}
	if last.code < 0 {
		return "pulumi was killed"
	}
	return fmt.Sprintf("pulumi ended with status %d and said no reason", last.code)
}

// stopped is the error of a session whose context is done.
func (s *session) stopped(ctx context.Context) error {
	if ctx.Err() == context.DeadlineExceeded {
		return provision.Errorf(provision.Busy, "update of stack %s: the time for it is over; what exists is kept", s.label)
	}
	return provision.Errorf(provision.Cancelled, "update of stack %s was stopped; what exists is kept", s.label)
}

// moved is the failure of a round after which the stack has to be read again.
func (s *session) moved() error {
	return &failure{again: atOnce, err: provision.Errorf(provision.Busy, "stack %s did not come to rest", s.label)}
}

// gaveUp is what is left of f when there is no more time to wait.
func (f *failure) gaveUp(waited time.Duration) error {
	e := *f.err
	e.Text = fmt.Sprintf("%s; waited for %v", e.Text, waited.Round(time.Second))
	if f.holder != "" {
		e.Next = "if " + f.holder + " is dead for certain, remove its lock with `pulumi cancel`; then run the same job again"
	}
	return &e
}

// clean returns text fit for a log: on one line, bounded, without control characters
// and without any secret that we know.
func (p *Program) clean(text string) string {
	text = p.redact(text)
	text = strings.Join(strings.Fields(ansi.ReplaceAllString(text, "")), " ")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, text)
	text = p.redact(text) // what came to light, and before a cut leaves a part of it
	if len(text) > 500 {
		text = strings.ToValidUTF8(text[:500], "") + " ..."
	}
	return text
}

func (p *Program) redact(text string) string {
	if p.Redact != nil {
		text = p.Redact(text)
	}
	for _, secret := range p.secrets() {
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return text
}

var ansi = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)

func (p *Program) secrets() []string {
	list := []string{p.AccessToken, p.Passphrase, p.HCloudToken}
	if p.Source != nil {
		list = append(list, p.Source.Token)
	}
	for _, v := range p.Env {
		if name, value, _ := strings.Cut(v, "="); strings.Contains(name, "SECRET") || strings.Contains(name, "TOKEN") || strings.Contains(name, "_KEY") {
			list = append(list, value)
		}
	}
	known := list[:0]
	for _, secret := range list {
		if len(secret) >= 4 { // a shorter one would be found in every other word
			known = append(known, secret)
		}
	}
	return known
}

// heading is what stands above a list of errors, to its first bullet; such lists are
// nested now and then.
var heading = re(`^[^\n]*\b\d+ errors? occurred:\s*\*\s*`)

// firstLine returns the first line of text that says something.
func firstLine(text string) string {
	text = strings.TrimSpace(text)
	for at := heading.FindString(text); at != ""; at = heading.FindString(text) {
		text = text[len(at):]
	}
	line, _, _ := strings.Cut(text, "\n")
	return line
}
