package hetzner

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A base is what all resources have.
type base struct {
	id        int64
	name      string
	labels    map[string]string
	created   time.Time
	protected bool // against deletion
}

func (b *base) head() *base { return b }

func (s *Server) newBase(name string, labels *map[string]string) base {
	b := base{id: s.newID(), name: name, labels: map[string]string{}, created: s.opts.Now().UTC().Truncate(time.Second)}
	if labels != nil {
		b.labels = cloneLabels(*labels)
	}
	return b
}

func cloneLabels(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return maps.Clone(labels)
}

// A table holds the resources of one kind, by ID.
type table[T interface{ head() *base }] []T

// get returns the resource with that ID.
func (t table[T]) get(kind string, id int64) (T, error) {
	for _, row := range t {
		if row.head().id == id {
			return row, nil
		}
	}
	var none T
	return none, notFound(kind, id)
}

// ofCall returns the resource that the path names.
func (t table[T]) ofCall(c *call, kind string) (T, error) {
	id, err := c.id(kind)
	if err != nil {
		var none T
		return none, err
	}
	return t.get(kind, id)
}

// free refuses a name that another resource has.
func (t table[T]) free(name, message string, self int64) error {
	for _, row := range t {
		if row.head().name == name && row.head().id != self {
			return notUnique("name", message)
		}
	}
	return nil
}

func (t table[T]) without(id int64) table[T] {
	return slices.DeleteFunc(slices.Clone(t), func(row T) bool { return row.head().id == id })
}

func (t table[T]) names() []string {
	names := make([]string, len(t))
	for i, row := range t {
		names[i] = row.head().name
	}
	slices.Sort(names)
	return names
}

// list answers a list of t: filtered by the query, sorted, each row shown by show.
func (t table[T]) list(c *call, key string, show func(T) any) (int, any, error) {
	query := c.r.URL.Query()
	selector, err := parseSelector(query.Get("label_selector"))
	if err != nil {
		return 0, nil, err
	}
	var found table[T]
	for _, row := range t {
		h := row.head()
		if name := query.Get("name"); (name == "" || name == h.name) && selector.matches(h.labels) {
			found = append(found, row)
		}
	}
	for _, by := range slices.Backward(query["sort"]) {
		if err := found.sort(by); err != nil {
			return 0, nil, err
		}
	}
	var rows []any
	for _, row := range found {
		rows = append(rows, show(row))
	}
	return http.StatusOK, page{key, rows}, nil
}

func (t table[T]) sort(by string) error {
	field, order, _ := strings.Cut(by, ":")
	var compare func(a, b *base) int
	switch field {
	case "id":
		compare = func(a, b *base) int { return cmp.Compare(a.id, b.id) }
	case "name":
		compare = func(a, b *base) int { return cmp.Compare(a.name, b.name) }
	case "created":
		compare = func(a, b *base) int { return a.created.Compare(b.created) }
	default:
		return invalid("sort", "is no field to sort by")
	}
	slices.SortStableFunc(t, func(a, b T) int {
		if order == "desc" {
			a, b = b, a
		}
		return compare(a.head(), b.head())
	})
	return nil
}

// An update is the body of the PUT of most kinds.
type update struct {
	Name   *string            `json:"name"`
	Labels *map[string]string `json:"labels"`
}

// update renames and relabels row, which is of t.
func (t table[T]) update(c *call, row T, taken string) error {
	var in update
	if err := c.decode(&in); err != nil {
		return err
	}
	h := row.head()
	if in.Name != nil {
		if *in.Name == "" {
			return invalid("name", "must not be empty")
		}
		if err := t.free(*in.Name, taken, h.id); err != nil {
			return err
		}
	}
	if err := checkLabels(in.Labels); err != nil {
		return err
	}
	if in.Name != nil {
		h.name = *in.Name
	}
	if in.Labels != nil {
		h.labels = cloneLabels(*in.Labels)
	}
	return nil
}
