package server

import (
	"bytes"
	"encoding/json"
	"sync"

	"github.com/pregoi/provision-tenant/internal/placement"
)

// spelled holds the candidates of each region as they were last spelled, which is most of
// the work of an answer: while nothing changes, the index gives the same list again. Its
// zero value is ready.
type spelled struct {
	regions sync.Map // of *spelling, by placement.Region
}

// A spelling is a list, which nobody writes to, and its JSON.
type spelling struct {
	list []placement.Candidate
	json []byte
}

// answer is a in JSON.
func (s *spelled) answer(a placement.Answer) ([]byte, error) {
	list := a.Candidates
	if len(list) == 0 {
		return encode(a)
	}
	last, _ := s.regions.Load(a.Region)
	of, _ := last.(*spelling)
	if of == nil || len(of.list) != len(list) || &of.list[0] != &list[0] {
		body, err := encode(list)
		if err != nil {
			return nil, err
		}
		of = &spelling{list, bytes.TrimSpace(body)}
		s.regions.Store(a.Region, of)
	}
	a.Candidates = list[:0]
	body, err := encode(a)
	// Of all that may stand before it, nothing is a member of this name.
	before, after, _ := bytes.Cut(body, []byte(`"candidates":[]`))
	return bytes.Join([][]byte{before, []byte(`"candidates":`), of.json, after}, nil), err
}

// encode is v in JSON, with nothing escaped for HTML: an answer is no page.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}
