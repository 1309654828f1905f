package server

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode"
)

// errTwice refuses a body that says something twice.
var errTwice = errors.New("a field is there twice, perhaps in capitals: give it once")

// decode reads a body. Huma reads it twice, first to check it and then into a type, and the
// two differ about a field that is there twice: what was checked would not be what is taken.
// So such a body is refused.
func decode(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return err
	}
	// Huma begins with any, which keeps one of the two.
	if parsed, ok := v.(*any); ok && (members(*parsed) != colons(data) || foldTwice(*parsed)) {
		return errTwice
	}
	return nil
}

// members counts the members of all objects in v.
func members(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		n = len(v)
		for _, value := range v {
			n += members(value)
		}
	case []any:
		for _, value := range v {
			n += members(value)
		}
	}
	return n
}

// colons counts the members of all objects in JSON, those that are there twice, too.
func colons(data []byte) (n int) {
	quoted := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\':
			i++ // it stands in strings alone
		case c == ':' && !quoted:
			n++
		}
	}
	return n
}

// foldTwice reports whether names in the body, or in an object of a list, are one to
// encoding/json, which overlooks capitals. What is deeper has names of the caller's.
func foldTwice(v any) bool {
	object, _ := v.(map[string]any)
	plain := true
	for name, value := range object {
		plain = plain && strings.IndexFunc(name, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsUpper(r) }) < 0
		list, _ := value.([]any)
		for _, item := range list {
			if foldTwice(item) {
				return true
			}
		}
	}
	if plain {
		return false
	}
	seen := make(map[string]bool, len(object))
	for name := range object {
		seen[strings.Map(fold, name)] = true
	}
	return len(seen) < len(object)
}

// fold returns the least of the letters that are r in capitals or not.
func fold(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}
