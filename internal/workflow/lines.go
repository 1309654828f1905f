package workflow

import "gopkg.in/yaml.v3"

// line returns the line of the key at the end of path, or of the last one before it that
// is there; 0 if none is.
func line(doc *yaml.Node, path []string) int {
	n, at := root(doc), 0
	for _, key := range path {
		k, v := pair(n, key)
		if k == nil {
			break
		}
		at, n = k.Line, v
	}
	return at
}

// find returns the value at the end of path; nil if there is none.
func find(doc *yaml.Node, path []string) *yaml.Node {
	n := root(doc)
	for _, key := range path {
		if _, n = pair(n, key); n == nil {
			return nil
		}
	}
	return n
}

func root(doc *yaml.Node) *yaml.Node {
	if doc.Kind == yaml.DocumentNode && len(doc.Content) > 0 {
		return doc.Content[0]
	}
	return doc
}

// pair returns the key and its value in the mapping n; nil if it is not there, or n is no
// mapping. The key on may have become true.
func pair(n *yaml.Node, key string) (k, v *yaml.Node) {
	if n = resolve(n); n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := resolve(n.Content[i])
		if k.Value == key || key == "on" && k.Value == "true" {
			return n.Content[i], resolve(n.Content[i+1])
		}
	}
	return nil, nil
}
