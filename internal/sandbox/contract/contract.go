// Package contract holds what goes over the wire in a test against the vendor's own
// description of its API.
//
// A contract is an OpenAPI document in the folder that the environment variable CONTRACTS
// names, or else in ../shared/contracts beside the repository. To hold another vendor to
// its contract, put its document there. Where a document is known to be wrong, say so in
// correct, with the evidence.
package contract

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// Handler returns a handler that answers as h does, and fails t for each request and each
// answer that the contract does not allow: a route, a query parameter or a status that it
// does not document, a body or a header that its schema refuses. Tokens are not its
// business. A request that is answered by cutting the connection is checked alone. One
// whose body is {} may ask whether it would be let in: where it is refused, as it means to
// be, its body is right.
//
// file is the document's name in the folder; where the folder is absent, t is skipped.
// prefix is the path under which h serves what the document calls "/", for example "/v1";
// it may be empty. h has to be done with its requests when t ends, as it is once an
// [httptest.Server] is closed.
func Handler(t testing.TB, file, prefix string, h http.Handler) http.Handler {
	t.Helper()
	dir, err := folder()
	if err != nil {
		t.Skipf("contract %s is not checked: %v", file, err)
	}
	c, err := load(filepath.Join(dir, file))
	if err != nil {
		t.Fatalf("contract %s: %v", file, err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone: there is nothing to check
		}
		report := func(who string, err error) {
			if err != nil {
				t.Errorf("contract %s: %s %s: %s: %v", file, r.Method, r.URL, who, err)
			}
		}
		input, err := c.request(r, prefix, body)
		probe := string(body) == "{}"
		if !probe {
			report("request", err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		if probe && answer.Code < 400 {
			report("request", err)
		}
		if input != nil {
			report(fmt.Sprintf("answer %d", answer.Code), c.answer(r, input, answer))
		}
		for k, v := range answer.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
	})
}

// folder returns the folder of the contracts.
func folder() (string, error) {
	dir := os.Getenv("CONTRACTS")
	if dir == "" {
		root, err := os.Getwd()
		if err != nil {
			return "", err
		}
		for ; !exists(filepath.Join(root, "go.mod")); root = filepath.Dir(root) {
			if root == filepath.Dir(root) {
				return "", fmt.Errorf("CONTRACTS is not set, and there is no repository around the working directory")
			}
		}
		dir = filepath.Join(root, "..", "shared", "contracts")
	}
	if !exists(dir) {
		return "", fmt.Errorf("there is no folder %s; CONTRACTS can name another", dir)
	}
	return filepath.Abs(dir)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// A document is a contract, ready to be held against traffic.
type document struct {
	router routers.Router
}

// documents keeps what was read, by file name: reading one takes up to half a second, and
// a package's tests ask for the same one again and again.
var documents sync.Map // of func() (*document, error)

// load reads the contract in the file called name, once in a process.
func load(name string) (*document, error) {
	read, _ := documents.LoadOrStore(name, sync.OnceValues(func() (*document, error) {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		loader := openapi3.NewLoader()
		doc, err := loader.LoadFromData(data)
		if err != nil {
			return nil, err
		}
		correct(filepath.Base(name), doc)
		doc.Servers = nil // any host, and paths that begin where the document's do
		router, err := gorillamux.NewRouter(doc)
		return &document{router}, err
	}))
	return read.(func() (*document, error))()
}

// request checks r, whose body is given apart. The input is nil if there is no such route.
func (c *document) request(r *http.Request, prefix string, body []byte) (*openapi3filter.RequestValidationInput, error) {
	bare, ok := strings.CutPrefix(r.URL.EscapedPath(), prefix)
	if !ok || !strings.HasPrefix(bare, "/") {
		return nil, fmt.Errorf("is not under %s", prefix)
	}
	copied := r.Clone(r.Context())
	copied.Body = io.NopCloser(bytes.NewReader(body))
	u, err := url.Parse(bare + "?" + r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	copied.URL = u
	route, params, err := c.router.FindRoute(copied)
	if err != nil {
		return nil, fmt.Errorf("is not documented: %w", err)
	}
	input := &openapi3filter.RequestValidationInput{
		Request:    copied,
		PathParams: params,
		Route:      route,
		Options: &openapi3filter.Options{
			MultiError:                        true,
			IncludeResponseStatus:             true,
			RejectWhenRequestBodyNotSpecified: true,
			SkipSettingDefaults:               true,
			AuthenticationFunc:                openapi3filter.NoopAuthenticationFunc,
		},
	}
	input.Options.WithCustomSchemaErrorFunc(difference)
	if route.Operation.RequestBody == nil && len(body) == 0 {
		copied.Body = http.NoBody
	}
	if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
		return input, err
	}
	return input, unknownQuery(route, u.Query())
}

// difference says where a value differs from its schema and how, without the schema, which
// can be pages long.
func difference(e *openapi3.SchemaError) string {
	value := fmt.Sprintf("%v", e.Value)
	if len(value) > 100 {
		value = value[:100] + "…"
	}
	return fmt.Sprintf("at /%s: %s; it is %s", strings.Join(e.JSONPointer(), "/"), e.Reason, value)
}

// unknownQuery refuses query parameters that the route does not document: openapi3filter
// lets them pass, and a vendor ignores them in silence.
func unknownQuery(route *routers.Route, query url.Values) error {
	var unknown []string
	for name := range query {
		known := func(p *openapi3.ParameterRef) bool { return p.Value.In == "query" && p.Value.Name == name }
		if !slices.ContainsFunc(route.Operation.Parameters, known) && !slices.ContainsFunc(route.PathItem.Parameters, known) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("query parameters that are not documented: %s", strings.Join(unknown, ", "))
	}
	return nil
}

// answer checks what was answered to r.
func (c *document) answer(r *http.Request, input *openapi3filter.RequestValidationInput, answer *httptest.ResponseRecorder) error {
	responses := input.Route.Operation.Responses
	ref := responses.Status(answer.Code)
	if ref == nil {
		ref = responses.Default()
	}
	if ref == nil {
		documented := make([]string, 0, responses.Len())
		for status := range responses.Map() {
			documented = append(documented, status)
		}
		slices.Sort(documented)
		return fmt.Errorf("status is not documented, only %s; body: %.200s", strings.Join(documented, ", "), answer.Body)
	}
	if len(ref.Value.Content) == 0 && answer.Body.Len() > 0 && r.Method != http.MethodHead {
		return fmt.Errorf("has a body where none is documented: %.200s", answer.Body)
	}
	return openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input,
		Status:                 answer.Code,
		Header:                 answer.Header(),
		Body:                   io.NopCloser(bytes.NewReader(answer.Body.Bytes())),
		Options:                input.Options,
	})
}
