package placement

import "slices"

// partLen is the most entries of one part. Short enough to be shifted in no time, and long
// enough that a hundred thousand entries are a few hundred parts.
const partLen = 256

// ordered keeps entries in order: a list of short sorted slices, one after the other. What
// an entry is compared by must not change while it is in the list.
type ordered struct {
	compare func(a, b *entry) int // never 0 for two entries
	parts   [][]*entry            // none is empty
}

// seek returns where the first entry is that does not come before e; part is len(o.parts)
// when there is none.
func (o *ordered) seek(e *entry) (part, i int) {
	part, _ = slices.BinarySearchFunc(o.parts, e, func(p []*entry, e *entry) int { return o.compare(p[len(p)-1], e) })
	if part < len(o.parts) {
		i, _ = slices.BinarySearchFunc(o.parts[part], e, o.compare)
	}
	return part, i
}

// insert puts e in its place.
func (o *ordered) insert(e *entry) {
	part, i := o.seek(e)
	switch {
	case len(o.parts) == 0:
		o.parts = [][]*entry{make([]*entry, 0, partLen)}
	case part == len(o.parts): // after all others
		part--
		i = len(o.parts[part])
	}
	if p := o.parts[part]; len(p) == partLen {
		half := append(make([]*entry, 0, partLen), p[partLen/2:]...)
		clear(p[partLen/2:])
		o.parts[part] = p[:partLen/2]
		o.parts = slices.Insert(o.parts, part+1, half)
		if i > partLen/2 {
			part, i = part+1, i-partLen/2
		}
	}
	o.parts[part] = slices.Insert(o.parts[part], i, e)
}

// remove takes e out. It is in the list.
func (o *ordered) remove(e *entry) {
	part, i := o.seek(e)
	o.parts[part] = slices.Delete(o.parts[part], i, i+1)
	left := len(o.parts[part])
	switch next := part + 1; {
	case left == 0:
		o.parts = slices.Delete(o.parts, part, part+1)
	case next < len(o.parts) && left+len(o.parts[next]) <= partLen/2:
		o.parts[part] = append(o.parts[part], o.parts[next]...)
		o.parts = slices.Delete(o.parts, next, next+1)
	}
}

// from yields the entries that do not come before e, in order.
func (o *ordered) from(e *entry) func(yield func(*entry) bool) {
	return func(yield func(*entry) bool) {
		part, i := o.seek(e)
		for ; part < len(o.parts); part, i = part+1, 0 {
			for _, e := range o.parts[part][i:] {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// all yields every entry, in order.
func (o *ordered) all(yield func(*entry) bool) {
	for _, p := range o.parts {
		for _, e := range p {
			if !yield(e) {
				return
			}
		}
	}
}
