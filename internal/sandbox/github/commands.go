package github

import (
	"slices"
	"strings"
	"unicode"
)

// A command is what a line of a step's output asks the runner to do.
type command struct {
	name  string
	props map[string]string
	data  string
}

// commandNames are the commands that the runner knows.
var commandNames = []string{"add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group",
	"internal-set-repo-path", "notice", "remove-matcher", "save-state", "set-env", "set-output", "stop-commands", "warning"}

// parseCommand reads a line by the two grammars that the runner has: ::name props::data
// at the start of a line, and ##[name props]data anywhere in it.
// https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs
func parseCommand(line, token string) (command, bool) {
	known := func(name string) bool {
		return slices.Contains(commandNames, strings.ToLower(name)) || token != "" && strings.EqualFold(name, token)
	}
	trimmed := strings.TrimLeftFunc(line, func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' })
	if rest, ok := strings.CutPrefix(trimmed, "::"); ok {
		if head, data, ok := strings.Cut(rest, "::"); ok {
			c := parseHead(head, ",", unescapeProperty)
			c.data = unescapeData.Replace(data)
			if known(c.name) {
				return c, true
			}
		}
	}
	if _, rest, ok := strings.Cut(line, "##["); ok {
		if head, data, ok := strings.Cut(rest, "]"); ok {
			c := parseHead(head, ";", unescapeOld)
			c.data = unescapeOld.Replace(data)
			if known(c.name) {
				return c, true
			}
		}
	}
	return command{}, false
}

// How the two grammars escape.
var (
	unescapeData     = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%25", "%")
	unescapeProperty = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",", "%25", "%")
	unescapeOld      = strings.NewReplacer("%3B", ";", "%0D", "\r", "%0A", "\n", "%5D", "]", "%25", "%")
)

func parseHead(head, separator string, unescape *strings.Replacer) command {
	name, rest, _ := strings.Cut(strings.TrimSpace(head), " ")
	c := command{name: name, props: map[string]string{}}
	for _, p := range strings.Split(rest, separator) {
		if k, v, ok := strings.Cut(strings.TrimSpace(p), "="); ok {
			c.props[k] = unescape.Replace(v)
		}
	}
	return c
}

// line takes one line of a step's output: it obeys a command, and logs the rest.
// A part of a longer line is never a command.
func (j *journal) line(text string, part bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c, ok := parseCommand(text, j.token)
	switch {
	case part || !ok:
		j.append(text)
	case j.token != "":
		if strings.EqualFold(c.name, j.token) {
			j.token = ""
			return
		}
		j.append(text)
	default:
		j.obey(c)
	}
}

func (j *journal) obey(c command) {
	switch name := strings.ToLower(c.name); name {
	case "add-mask":
		if strings.TrimSpace(c.data) == "" {
			j.append("##[warning]Can't add secret mask for empty string in ##[add-mask] command.")
			return
		}
		j.mask(c.data)
		j.append("::add-mask::" + maskedText)
	case "error", "warning", "notice":
		j.annotate(Annotation{Level: name, Title: c.props["title"], File: c.props["file"], Line: c.props["line"], Message: c.data})
	case "group", "endgroup":
		j.append("##[" + name + "]" + c.data)
	case "set-output":
		j.outputs[c.props["name"]] = c.data
		j.annotate(Annotation{Level: "warning", Message: "The `set-output` command is deprecated and will be disabled soon. Please upgrade to using Environment Files."})
	case "set-env", "add-path":
		j.annotate(Annotation{Level: "error", Message: "The `" + name + "` command is disabled. Please upgrade to using Environment Files."})
	case "stop-commands":
		if c.data == "" || slices.Contains(commandNames, strings.ToLower(c.data)) || strings.EqualFold(c.data, "pause-logging") {
			j.annotate(Annotation{Level: "error", Message: "Invalid stop-commands token."})
			return
		}
		j.token = c.data
		if len(c.data) > 6 {
			j.mask(c.data)
		}
	}
}

// writer returns a stream of output. Flush it at the end.
func (j *journal) writer() *lines { return &lines{journal: j} }

// lines cuts a stream into lines, as .NET does: at \n, \r and \r\n.
type lines struct {
	journal *journal
	buf     []byte
	part    bool // the last piece ended inside a line
	cr      bool // the last byte was \r
}

func (l *lines) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case b == '\n' && l.cr:
		case b == '\n' || b == '\r':
			l.emit(false)
		default:
			if l.buf = append(l.buf, b); len(l.buf) >= maxLine {
				l.emit(true)
			}
		}
		l.cr = b == '\r'
	}
	return len(p), nil
}

// emit hands over the buffer; more says that the line goes on after it.
func (l *lines) emit(more bool) {
	l.journal.line(string(l.buf), l.part)
	l.buf, l.part = l.buf[:0], more
}

func (l *lines) flush() {
	if len(l.buf) > 0 {
		l.emit(false)
	}
}
