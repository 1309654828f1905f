package actions_test

import (
	"fmt"
	"strings"
	"unicode"
)

// This file says again, for the tests, what the runner does with a step's log and output
// file. https://github.com/actions/runner: src/Runner.Common/ActionCommand.cs,
// src/Runner.Worker/Handlers/OutputManager.cs, src/Runner.Worker/FileCommandManager.cs.

// logLines splits a log as .NET's StreamReader.ReadLine does.
func logLines(s string) []string {
	return strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s), "\n")
}

// A command is a workflow command that the runner would obey.
type command struct {
	Name, Title, Data string
}

// commands returns every workflow command in a log. A strict reader takes any name for a
// command's, and sees no character that a culture-sensitive comparison may ignore.
func commands(s string, strict bool) []command {
	var list []command
	for _, line := range logLines(s) {
		if strict {
			line = strings.Map(visible, line)
		}
		c, ok := parseV2(line, strict)
		if !ok {
			c, ok = parseV1(line, strict)
		}
		if ok {
			list = append(list, c)
		}
	}
	return list
}

func registered(name string) bool {
	return strings.Contains(" add-mask add-path set-env set-output save-state debug notice warning error group endgroup"+
		" echo add-matcher remove-matcher stop-commands internal-set-repo-path ", " "+strings.ToLower(name)+" ")
}

// parseV2 reads ::name properties::data.
func parseV2(line string, strict bool) (command, bool) {
	line = strings.TrimLeftFunc(line, func(r rune) bool {
		return r >= '\t' && r <= '\r' || r == 0x85 || r == 0xA0 || unicode.In(r, unicode.Z)
	})
	if !strings.HasPrefix(line, "::") {
		return command{}, false
	}
	info, data, ok := strings.Cut(line[2:], "::")
	name, properties, _ := strings.Cut(info, " ")
	if !ok || !registered(name) && !strict {
		return command{}, false
	}
	c := command{Name: name, Data: unescape(data)}
	for pair := range strings.SplitSeq(strings.TrimSpace(properties), ",") {
		if v, ok := strings.CutPrefix(pair, "title="); ok {
			c.Title = unescape(strings.NewReplacer("%3A", ":", "%2C", ",").Replace(v))
		}
	}
	return c, true
}

// parseV1 reads ##[name properties]data, wherever it stands in the line.
func parseV1(line string, strict bool) (command, bool) {
	_, rest, ok := strings.Cut(line, "##[")
	info, data, ok2 := strings.Cut(rest, "]")
	name, _, _ := strings.Cut(info, " ")
	if !ok || !ok2 || !registered(name) && !strict {
		return command{}, false
	}
	return command{Name: name, Data: unescape(data)}, true
}

func unescape(s string) string {
	for _, pair := range [][2]string{{"%0D", "\r"}, {"%0A", "\n"}, {"%25", "%"}} {
		s = strings.ReplaceAll(s, pair[0], pair[1])
	}
	return s
}

// visible drops what has no weight in a comparison, and folds what differs in width only.
func visible(r rune) rune {
	switch {
	case r == '\t', r == '\v', r == '\f', r == 0x85:
		return r
	case r < ' ', r >= 0x7F && r < 0xA0, unicode.Is(unicode.Cf, r), unicode.Is(unicode.Mn, r), unicode.Is(unicode.Me, r):
		return -1
	case r == 0x034F, r == 0x115F, r == 0x1160, r == 0x17B4, r == 0x17B5, r == 0x3164, r == 0xFFA0:
		return -1
	case r >= 0x180B && r <= 0x180F, r >= 0xFE00 && r <= 0xFE0F, r >= 0xE0000 && r <= 0xE0FFF:
		return -1
	case r >= 0xFF01 && r <= 0xFF5E:
		return r - 0xFF01 + '!'
	}
	return r
}

// outputs reads an output file: NAME=VALUE, or NAME<<DELIMITER, the value, DELIMITER.
func outputs(text string) (map[string]string, error) {
	got := map[string]string{}
	at := 0
	readLine := func() (line string, newline int, ok bool) {
		if at >= len(text) {
			return "", 0, false
		}
		if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
			line, newline = text[at:at+i], 1
		} else {
			line = text[at:]
		}
		at += len(line) + newline
		return line, newline, true
	}
	for {
		line, _, ok := readLine()
		if !ok {
			return got, nil
		}
		equals, heredoc := strings.Index(line, "="), strings.Index(line, "<<")
		switch {
		case line == "":
		case equals >= 0 && (heredoc < 0 || equals < heredoc):
			got[line[:equals]] = line[equals+1:]
		case heredoc > 0 && line[heredoc+2:] != "":
			name, delimiter := line[:heredoc], line[heredoc+2:]
			start, end := at, at
			for {
				value, newline, ok := readLine()
				if !ok {
					return got, fmt.Errorf("Invalid value. Matching delimiter not found '%s'", delimiter)
				}
				if value == delimiter {
					break
				}
				if newline == 0 {
					return got, fmt.Errorf("Invalid value. EOF marker missing new line.")
				}
				end = at - newline
			}
			got[name] = text[start:max(start, end)]
		default:
			return got, fmt.Errorf("Invalid format '%s'", line)
		}
	}
}
