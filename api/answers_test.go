package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/medledger/medledger/verifier/history"
)

// answers is a transport that holds every answer against the OpenAPI document.
type answers struct{ t testing.TB }

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || !strings.HasPrefix(r.URL.Path, "/v1/") {
		return response, err
	}
	a.check(r, response)
	return response, nil
}

// schemas are compiled once from the document.
var schemas struct {
	once     sync.Once
	document object
	compiler *jsonschema.Compiler
	mu       sync.Mutex
	err      error
}

func loadSchemas() {
	text, err := json.Marshal(document())
	if err != nil {
		schemas.err = err
		return
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		schemas.err = err
		return
	}
	schemas.document = parsed.(object)
	schemas.compiler = jsonschema.NewCompiler()
	schemas.compiler.AssertFormat()
	schemas.err = schemas.compiler.AddResource("openapi.json", parsed)
}

// check validates an answer's body against the schema of its route and status.
func (a *answers) check(r *http.Request, response *http.Response) {
	schemas.once.Do(loadSchemas)
	if schemas.err != nil {
		a.t.Error(schemas.err)
		return
	}
	if response.Header.Get("X-Request-Id") == "" {
		a.t.Errorf("%s %s: an answer without an X-Request-Id", r.Method, r.URL.Path)
	}
	pointer, kind := a.schemaOf(r, response)
	got, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	switch kind {
	case "": // the error is told
		return
	case "*/*": // contents
		return
	case "none":
		return
	}
	if got != kind {
		a.t.Errorf("%s %s: %d has the type %q, want %q", r.Method, r.URL.Path, response.StatusCode, got, kind)
		return
	}
	if kind == history.MediaType { // no JSON value: whoever reads it verifies it
		return
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Error(err)
		return
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	a.validate(pointer, body, r)
}

func (a *answers) validate(pointer string, body []byte, r *http.Request) {
	schemas.mu.Lock()
	schema, err := schemas.compiler.Compile("openapi.json#" + pointer)
	schemas.mu.Unlock()
	if err != nil {
		a.t.Errorf("%s: %v", pointer, err)
		return
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		a.t.Errorf("%s %s answered what the document does not have: %v", r.Method, r.URL.Path, err)
	}
}

// schemaOf returns where in the document the schema of an answer is, and of what
// media type the answer must be.
func (a *answers) schemaOf(r *http.Request, response *http.Response) (pointer, kind string) {
	const problem = "/components/schemas/Problem"
	if response.StatusCode/100 != 2 {
		return problem, "application/problem+json"
	}
	for path, item := range schemas.document["paths"].(object) {
		o, ok := item.(object)[strings.ToLower(r.Method)].(object)
		if !ok || !matches(path, r.URL.Path) {
			continue
		}
		status := strconv.Itoa(response.StatusCode)
		answer, ok := o["responses"].(object)[status].(object)
		if !ok {
			a.t.Errorf("%s %s answered %s, which the document does not have", r.Method, path, status)
			return "", ""
		}
		content, ok := answer["content"].(object)
		if !ok {
			return "", "none"
		}
		for kind := range content {
			at := strings.NewReplacer("~", "~0", "/", "~1")
			return "/paths/" + at.Replace(path) + "/" + strings.ToLower(r.Method) + "/responses/" + status +
				"/content/" + at.Replace(kind) + "/schema", kind
		}
	}
	a.t.Errorf("%s %s was answered %d and is not in the document", r.Method, r.URL.Path, response.StatusCode)
	return "", ""
}

// matches reports whether a path is of a template.
func matches(template, path string) bool {
	t, p := strings.Split(template, "/"), strings.Split(path, "/")
	if len(t) != len(p) {
		return false
	}
	for i := range t {
		if !strings.HasPrefix(t[i], "{") && t[i] != p[i] {
			return false
		}
	}
	return true
}
