package contract_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
)

// A witness is a test that remembers what was said of it.
type witness struct {
	testing.TB
	errors  []string
	skipped string
}

func (w *witness) Helper() {}

func (w *witness) Errorf(format string, args ...any) {
	w.errors = append(w.errors, fmt.Sprintf(format, args...))
}

func (w *witness) Skipf(format string, args ...any) {
	w.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// answering answers everything alike, and gives the request's body back in a header.
func answering(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Got", string(got))
		if body != "" {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
}

func TestHandler(t *testing.T) {
	t.Setenv("CONTRACTS", "testdata")
	tests := []struct {
		name   string
		method string
		url    string
		send   string
		status int
		answer string
		want   string // part of what is said; empty if all is well
	}{
		{"good", "PUT", "/v1/things/7?dry=true", `{"name":"a"}`, 200, `{"id":7}`, ""},
		{"good without body", "PUT", "/v1/things/7", `{"name":"a"}`, 204, ``, ""},
		{"good refusal", "PUT", "/v1/things/7", `{"name":"a"}`, 422, `{"error":{}}`, ""},
		{"other prefix", "PUT", "/v2/things/7", `{"name":"a"}`, 200, `{"id":7}`, "is not under /v1"},
		{"unknown route", "PUT", "/v1/nothings/7", `{"name":"a"}`, 200, `{"id":7}`, "request: is not documented"},
		{"unknown method", "GET", "/v1/things/7", ``, 200, `{"id":7}`, "request: is not documented"},
		{"bad path", "PUT", "/v1/things/seven", `{"name":"a"}`, 200, `{"id":7}`, `parameter "id" in path`},
		{"bad query", "PUT", "/v1/things/7?dry=perhaps", `{"name":"a"}`, 200, `{"id":7}`, `parameter "dry" in query`},
		{"unknown query", "PUT", "/v1/things/7?wet=1&cold=1", `{"name":"a"}`, 200, `{"id":7}`, "not documented: cold, wet"},
		{"no body sent", "PUT", "/v1/things/7", ``, 200, `{"id":7}`, "request: request body has an error"},
		{"bad body sent", "PUT", "/v1/things/7", `{"name":7}`, 200, `{"id":7}`, "at /name: value must be a string; it is 7"},
		{"unknown status", "PUT", "/v1/things/7", `{"name":"a"}`, 500, `{"error":{}}`, "answer 500: status is not documented, only 200, 204, 4XX"},
		{"bad answer", "PUT", "/v1/things/7", `{"name":"a"}`, 200, `{"id":"7"}`, "at /id: value must be an integer; it is 7"},
		{"bad refusal", "PUT", "/v1/things/7", `{"name":"a"}`, 404, `{}`, `at /error: property "error" is missing`},
		{"body where none belongs", "PUT", "/v1/things/7", `{"name":"a"}`, 204, `{"id":7}`, "has a body where none is documented"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			said := &witness{TB: t}
			h := contract.Handler(said, "small.json", "/v1", answering(tt.status, tt.answer))
			r := httptest.NewRequest(tt.method, tt.url, strings.NewReader(tt.send))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)

			text := strings.Join(said.errors, "\n")
			if tt.want == "" && text != "" {
				t.Errorf("said %s, want nothing", text)
			}
			if !strings.Contains(text, tt.want) {
				t.Errorf("said %q, want %q in it", text, tt.want)
			}
			if w.Code != tt.status || w.Body.String() != tt.answer || w.Header().Get("X-Got") != tt.send {
				t.Errorf("answer was changed on its way: %d %s (sent %s)", w.Code, w.Body, w.Header().Get("X-Got"))
			}
		})
	}
}

func TestHandlerSkipsWithoutFolder(t *testing.T) {
	t.Setenv("CONTRACTS", "testdata/absent")
	said := &witness{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		contract.Handler(said, "small.json", "/v1", answering(200, ""))
	}()
	<-done
	if !strings.Contains(said.skipped, "there is no folder testdata/absent") {
		t.Errorf("skipped with %q", said.skipped)
	}
}

// The documents that the project is held against can be read, and what is corrected in
// them is still wrong in them.
func TestDocuments(t *testing.T) {
	tests := []struct {
		file, prefix, method, url, send string
		status                          int
		answer                          string
	}{
		{"github.json", "", "POST", "/repos/o/r/actions/workflows/w.yml/dispatches", `{"ref":"main","inputs":{"a":true}}`, 204, ""},
		{"github-2026-03-10.json", "", "GET", "/repos/o/r/actions/runs?event=workflow_dispatch", ``, 200, `{"total_count":0,"workflow_runs":[]}`},
		{"hcloud.json", "/v1", "GET", "/v1/servers/1", ``, 404, `{"error":{"code":"not_found","message":"server with ID '1' not found","details":null}}`},
		{"cloudflare.json", "/client/v4", "GET", "/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/dns_records?name=a.example.com", ``, 200,
			`{"success":true,"errors":[],"messages":[],"result":[{"id":"023e105f4ecef8ad9ca31a8372d0c353","type":"A","name":"a.example.com",
			"content":"203.0.113.1","proxied":true,"ttl":1,"comment":"c","tags":[],"created_on":"2026-01-01T05:20:00Z","modified_on":"2026-01-01T05:20:00Z",
			"proxiable":true,"settings":{},"meta":{}}],"result_info":{"page":1,"per_page":20,"count":1,"total_count":1,"total_pages":1}}`},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			h := contract.Handler(t, tt.file, tt.prefix, answering(tt.status, tt.answer))
			r := httptest.NewRequest(tt.method, tt.url, strings.NewReader(tt.send))
			r.Header.Set("Content-Type", "application/json")
			h.ServeHTTP(httptest.NewRecorder(), r)
		})
	}
}
