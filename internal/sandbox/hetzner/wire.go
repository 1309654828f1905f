package hetzner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// A call is one authenticated request. The server's lock is held while it is handled.
type call struct {
	*Server
	p    *project
	r    *http.Request
	body []byte
}

// A handler answers a call with a status and a body, which is nil for none.
type handler func(*call) (status int, body any, err error)

// An apiError is what the vendor answers instead.
type apiError struct {
	status  int
	code    string
	message string
	details any
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%s)", e.message, e.code) }

func notFound(kind string, id int64) error {
	return &apiError{http.StatusNotFound, "not_found", fmt.Sprintf("%s with ID '%d' not found", kind, id), nil}
}

// invalid is the refusal of one field's value.
func invalid(field, format string, args ...any) error {
	type broken struct {
		Name     string   `json:"name"`
		Messages []string `json:"messages"`
	}
	reason := fmt.Sprintf(format, args...)
	return &apiError{
		http.StatusUnprocessableEntity, "invalid_input",
		fmt.Sprintf("invalid input in field '%s': %s", field, reason),
		map[string]any{"fields": []broken{{field, []string{reason}}}},
	}
}

// notUnique is the refusal of a second resource with the same value of a field.
func notUnique(field, message string) error {
	type taken struct {
		Name string `json:"name"`
	}
	return &apiError{http.StatusConflict, "uniqueness_error", message, map[string]any{"fields": []taken{{field}}}}
}

// refuse is any other refusal.
func refuse(status int, code, format string, args ...any) error {
	return &apiError{status, code, fmt.Sprintf(format, args...), nil}
}

// maxBody bounds what is read of a request.
const maxBody = 1 << 20

// serve returns the handler of one route.
func (s *Server) serve(pattern string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			return // the client has gone, or is none that we know
		}
		s.mu.Lock()
		status, answer, err := s.answer(w.Header(), pattern, h, r, body)
		var data []byte
		if err == nil && answer != nil {
			data, err = json.Marshal(answer)
		}
		s.mu.Unlock()
		if err != nil {
			status, data = errorBody(err)
		}
		if data != nil {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(status)
		w.Write(data)
	})
}

// errorBody returns the answer that says err.
func errorBody(err error) (status int, body []byte) {
	e := &apiError{http.StatusInternalServerError, "server_error", err.Error(), nil}
	errors.As(err, &e)
	body, _ = json.Marshal(map[string]any{"error": map[string]any{"code": e.code, "message": e.message, "details": e.details}})
	return e.status, body
}

// answer handles r, after everything that is alike for all routes.
func (s *Server) answer(header http.Header, pattern string, h handler, r *http.Request, body []byte) (int, any, error) {
	s.calls[pattern]++
	header.Set("X-Correlation-Id", fmt.Sprintf("%016x", s.newID()))
	token, known := s.opts.Tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if !known {
		return 0, nil, refuse(http.StatusUnauthorized, "unauthorized", "unable to authenticate")
	}
	c := &call{s, s.projects[token.Project], r, body}
	if err := c.limit(header); err != nil {
		return 0, nil, err
	}
	if token.ReadOnly && r.Method != http.MethodGet {
		return 0, nil, refuse(http.StatusUnauthorized, "token_readonly", "the token is only allowed to perform GET requests")
	}
	status, answer, err := h(c)
	if err == nil && r.Method != http.MethodGet {
		s.mutations[token.Project]++
	}
	if p, ok := answer.(page); ok && err == nil {
		answer, err = p.cut(c, header)
	}
	return status, answer, err
}

// limit takes one request out of the project's bucket, which refills at a steady rate.
func (c *call) limit(header http.Header) error {
	limit := float64(c.opts.RateLimit)
	now := c.opts.Now()
	c.p.tokensLeft = min(limit, c.p.tokensLeft+now.Sub(c.p.refilled).Hours()*limit)
	c.p.refilled = now
	enough := c.p.tokensLeft >= 1
	if enough {
		c.p.tokensLeft--
	}
	full := now.Unix() + int64(math.Ceil((limit-c.p.tokensLeft)/limit*3600))
	header.Set("RateLimit-Limit", strconv.Itoa(c.opts.RateLimit))
	header.Set("RateLimit-Remaining", strconv.Itoa(int(c.p.tokensLeft)))
	header.Set("RateLimit-Reset", strconv.FormatInt(full, 10))
	if !enough {
		return refuse(http.StatusTooManyRequests, "rate_limit_exceeded", "limit of %d requests per hour reached", c.opts.RateLimit)
	}
	return nil
}

// decode reads the request's JSON into v.
func (c *call) decode(v any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return refuse(http.StatusBadRequest, "json_error", "unexpected end of JSON input")
	}
	err := json.Unmarshal(c.body, v)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return invalid(wrong.Field, "cannot be %s", wrong.Value)
	case err != nil:
		return refuse(http.StatusBadRequest, "json_error", "%v", err)
	}
	return nil
}

// id reads a number of the path.
func (c *call) id(kind string) (int64, error) {
	id, err := strconv.ParseInt(c.r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, refuse(http.StatusNotFound, "not_found", "%s with ID '%s' not found", kind, c.r.PathValue("id"))
	}
	return id, nil
}

// A page is the answer to a list: the rows under their key, not yet cut.
type page struct {
	key  string
	rows []any
}

// cut returns the page that was asked for, with what the vendor says about the others.
func (p page) cut(c *call, header http.Header) (any, error) {
	query := c.r.URL.Query()
	number, err := positive(query, "page", 1)
	if err != nil {
		return nil, err
	}
	size, err := positive(query, "per_page", 25)
	if err != nil {
		return nil, err
	}
	size = min(size, c.opts.MaxPerPage)
	total := len(p.rows)
	last := max(1, (total+size-1)/size)
	from := min(total, (number-1)*size)
	rows := p.rows[from:min(total, from+size)]
	if rows == nil {
		rows = []any{}
	}
	meta := map[string]any{
		"page": number, "per_page": size, "previous_page": nil, "next_page": nil, "last_page": last, "total_entries": total,
	}
	var links []string
	link := func(rel string, n int) {
		q := maps.Clone(query)
		q.Set("page", strconv.Itoa(n))
		links = append(links, fmt.Sprintf("<http://%s%s?%s>; rel=%q", c.r.Host, c.r.URL.Path, q.Encode(), rel))
	}
	if number > 1 {
		meta["previous_page"] = number - 1
		link("prev", number-1)
	}
	if number < last {
		meta["next_page"] = number + 1
		link("next", number+1)
	}
	link("last", last)
	header.Set("Link", strings.Join(links, ", "))
	return map[string]any{p.key: rows, "meta": map[string]any{"pagination": meta}}, nil
}

func positive(query url.Values, name string, otherwise int) (int, error) {
	text := query.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, invalid(name, "must be a positive integer")
	}
	return n, nil
}
