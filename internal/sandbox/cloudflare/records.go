package cloudflare

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Record is a DNS record, as the API shows it.
type Record struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"` // in full, without a final dot
	Type       string    `json:"type"`
	Content    string    `json:"content"`
	Proxiable  bool      `json:"proxiable"`
	Proxied    bool      `json:"proxied"`
	TTL        int       `json:"ttl"` // seconds; 1 is automatic
	Settings   struct{}  `json:"settings"`
	Meta       struct{}  `json:"meta"`
	Comment    *string   `json:"comment,omitempty"` // nil when there is none
	Tags       []string  `json:"tags"`
	CreatedOn  time.Time `json:"created_on"`
	ModifiedOn time.Time `json:"modified_on"`
}

// fields are what a client may set of a record; nil for what it does not mention.
type fields struct {
	Name    *string   `json:"name"`
	Type    *string   `json:"type"`
	Content *string   `json:"content"`
	TTL     *int      `json:"ttl"`
	Proxied *bool     `json:"proxied"`
	Comment *string   `json:"comment"`
	Tags    *[]string `json:"tags"`
}

// listRecords answers GET /zones/{zone}/dns_records.
func (s *Server) listRecords(r *request) (any, error) {
	q := r.URL.Query()
	var list []Record
	for _, rec := range s.records {
		if matches(rec, q) {
			list = append(list, rec)
		}
	}
	slices.SortStableFunc(list, func(a, b Record) int {
		if c := strings.Compare(a.Type, b.Type); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return page(r, list, min(100, s.opts.MaxPerPage), s.opts.MaxPerPage)
}

// matches reports whether rec passes all filters of a list, or one of them where match is
// "any". Comments and names are compared without regard to case.
func matches(rec Record, q url.Values) bool {
	comment := ""
	if rec.Comment != nil {
		comment = *rec.Comment
	}
	passed, asked := 0, 0
	filter := func(param string, pass func(want string) bool) {
		if v, ok := q[param]; ok && v[0] != "" {
			asked++
			if pass(v[0]) {
				passed++
			}
		}
	}
	texts := func(param, have string) {
		have = strings.ToLower(have)
		compare := func(f func(string, string) bool) func(string) bool {
			return func(want string) bool { return f(have, strings.ToLower(want)) }
		}
		same := compare(func(a, b string) bool { return a == b })
		filter(param, same)
		filter(param+".exact", same)
		filter(param+".contains", compare(strings.Contains))
		filter(param+".startswith", compare(strings.HasPrefix))
		filter(param+".endswith", compare(strings.HasSuffix))
	}
	texts("name", rec.Name)
	texts("content", rec.Content)
	texts("comment", comment)
	filter("type", func(want string) bool { return rec.Type == strings.ToUpper(want) })
	filter("proxied", func(want string) bool { return strconv.FormatBool(rec.Proxied) == want })
	if _, ok := q["comment.present"]; ok && comment == "" {
		return false
	}
	if _, ok := q["comment.absent"]; ok && comment != "" {
		return false
	}
	if q.Get("match") == "any" {
		return asked == 0 || passed > 0
	}
	return passed == asked
}

func (s *Server) getRecord(r *request) (any, error) {
	i, err := s.find(r)
	if err != nil {
		return nil, err
	}
	return s.records[i], nil
}

func (s *Server) createRecord(r *request) (any, error) {
	now := s.opts.Now().UTC()
	rec := Record{ID: randomID(), TTL: 1, Tags: []string{}, CreatedOn: now, ModifiedOn: now}
	if err := s.set(&rec, r.body); err != nil {
		return nil, err
	}
	if len(s.records) >= s.opts.MaxRecords {
		return nil, refuse(http.StatusBadRequest, 81045, "Record quota exceeded.")
	}
	s.records = append(s.records, rec)
	return rec, nil
}

// replaceRecord answers PUT: what is not mentioned is reset.
func (s *Server) replaceRecord(r *request) (any, error) {
	return s.change(r, func(old Record) Record {
		return Record{ID: old.ID, TTL: 1, Tags: []string{}, CreatedOn: old.CreatedOn}
	})
}

// patchRecord answers PATCH: what is not mentioned stays.
func (s *Server) patchRecord(r *request) (any, error) {
	return s.change(r, func(old Record) Record { return old })
}

func (s *Server) change(r *request, from func(old Record) Record) (any, error) {
	i, err := s.find(r)
	if err != nil {
		return nil, err
	}
	rec := from(s.records[i])
	if err := s.set(&rec, r.body); err != nil {
		return nil, err
	}
	rec.ModifiedOn = s.opts.Now().UTC()
	s.records[i] = rec
	return rec, nil
}

func (s *Server) deleteRecord(r *request) (any, error) {
	i, err := s.find(r)
	if err != nil {
		return nil, err
	}
	id := s.records[i].ID
	s.records = slices.Delete(s.records, i, i+1)
	return map[string]string{"id": id}, nil
}

// find returns the place of the record that the path names.
func (s *Server) find(r *request) (int, error) {
	i := slices.IndexFunc(s.records, func(rec Record) bool { return rec.ID == r.PathValue("record") })
	if i < 0 {
		return 0, refuse(http.StatusNotFound, 81044, "Record does not exist.")
	}
	return i, nil
}

// set gives rec what body says, if the zone's rules allow the outcome.
func (s *Server) set(rec *Record, body []byte) error {
	var f fields
	if err := json.Unmarshal(body, &f); err != nil {
		return refuse(http.StatusBadRequest, 9207, "Request body is invalid.")
	}
	assign(&rec.Name, f.Name)
	assign(&rec.Type, f.Type)
	assign(&rec.Content, f.Content)
	assign(&rec.TTL, f.TTL)
	assign(&rec.Proxied, f.Proxied)
	assign(&rec.Tags, f.Tags)
	if f.Comment != nil {
		if rec.Comment = f.Comment; *f.Comment == "" {
			rec.Comment = nil
		}
	}
	if err := s.normalise(rec); err != nil {
		return err
	}
	return s.conflict(*rec)
}

func assign[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// page returns the part of list that the request asks for, and says so in r.info.
func page[T any](r *request, list []T, size, most int) (any, error) {
	number := 1
	for name, v := range map[string]*int{"page": &number, "per_page": &size} {
		if text := r.URL.Query().Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return nil, refuse(http.StatusBadRequest, 1004, "Invalid value for "+name)
			}
			*v = n
		}
	}
	size = min(size, most)
	total := len(list)
	from := min((number-1)*size, total)
	part := list[from:min(from+size, total)]
	r.info = map[string]int{
		"page": number, "per_page": size, "count": len(part), "total_count": total, "total_pages": (total + size - 1) / size,
	}
	return append([]T{}, part...), nil
}
