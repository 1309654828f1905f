package github

import (
	"os"
	"strings"
)

// A pair is one NAME=VALUE that a step has left in a command file.
type pair struct{ name, value string }

// readPairs reads a command file by the runner's grammar: NAME=VALUE, or NAME<<DELIMITER,
// lines, and DELIMITER alone on a line.
// https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#multiline-strings
func readPairs(name string) ([]pair, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parsePairs(strings.TrimPrefix(string(data), "\ufeff"))
}

func parsePairs(text string) ([]pair, error) {
	var list []pair
	for text != "" {
		var line string
		line, text = cutLine(text)
		if line == "" {
			continue
		}
		equals, heredoc := strings.Index(line, "="), strings.Index(line, "<<")
		switch {
		case equals >= 0 && (heredoc < 0 || equals < heredoc):
			if equals == 0 {
				return list, sayf("Invalid format '%s'. Name must not be empty", line)
			}
			list = append(list, pair{line[:equals], line[equals+1:]})
		case heredoc >= 0:
			p := pair{name: line[:heredoc]}
			delimiter := line[heredoc+2:]
			if p.name == "" || delimiter == "" {
				return list, sayf("Invalid format '%s'. Name must not be empty and delimiter must not be empty", line)
			}
			var ok bool
			if p.value, text, ok = cutHeredoc(text, delimiter); !ok {
				return list, sayf("Invalid value. Matching delimiter not found '%s'", delimiter)
			}
			list = append(list, p)
		default:
			return list, sayf("Invalid format '%s'", line)
		}
	}
	return list, nil
}

// cutHeredoc returns the lines before the delimiter, and what follows it.
func cutHeredoc(text, delimiter string) (value, rest string, ok bool) {
	var lines []string
	for text != "" {
		var line string
		line, text = cutLine(text)
		if line == delimiter {
			return strings.Join(lines, "\n"), text, true
		}
		lines = append(lines, line)
	}
	return "", "", false
}

// cutLine returns the first line of text without its end, and the rest.
func cutLine(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

// readLines returns the lines of a file that are not empty.
func readLines(name string) ([]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' || r == '\r' }), nil
}
