package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/history"
)

var update = flag.Bool("update", false, "write openapi.json anew")

type object = map[string]any

// TestOpenAPIDocument makes the document from the table of routes and holds it
// against the one that is served.
func TestOpenAPIDocument(t *testing.T) {
	text, err := json.MarshalIndent(document(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.WriteFile("openapi.json", text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	served, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, served) {
		t.Error("openapi.json is not what the routes say; run: go test ./api -run TestOpenAPIDocument -update")
	}
	b := start(t, 1)
	if response, body := b.do(t, "GET", "/openapi.json"); response.StatusCode != 200 || !bytes.Equal(body, served) {
		t.Errorf("served: %d, %d bytes", response.StatusCode, len(body))
	}
}

// Every route of the router is in the document, and every operation of the document
// has a route.
func TestDocumentAndRouter(t *testing.T) {
	h, err := api.New(api.Config{Ledger: sharedLedger(t), Logger: start(t, 1).logger(), Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	routed := make(map[string]bool)
	err = h.(*mux.Router).Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := route.GetMethods()
		for _, m := range methods {
			if m != "HEAD" {
				routed[m+" "+path] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range document()["paths"].(object) {
		for method := range item.(object) {
			name := strings.ToUpper(method) + " " + strings.NewReplacer("{level}/{tile}", "", "/entries/{bundle}", "/entries/").Replace(path)
			if !routed[name] {
				t.Errorf("%s is in the document and has no route", name)
			}
			delete(routed, name)
		}
	}
	for name := range routed {
		t.Errorf("%s has a route and is not in the document", name)
	}
}

// document is the OpenAPI document.
func document() object {
	schemas := make(object)
	paths := make(object)
	for _, r := range api.Routes() {
		if paths[r.Path] == nil {
			paths[r.Path] = make(object)
		}
		paths[r.Path].(object)[strings.ToLower(r.Method)] = operation(r, schemas)
	}
	schemaOf(reflect.TypeFor[client.Problem](), schemas)
	schemas["Receipt"] = receiptSchema()
	for path, o := range logOperations() {
		paths[path] = object{"get": o}
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "medledger", "version": "1",
			"description": "An event-sourced provenance ledger for medical records. Every act is an event with a proof; what a caller may not know of is answered as if it did not exist.",
		},
		"paths": paths,
		"components": object{
			"schemas":         schemas,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "description": "mlt_ and 32 random bytes in base64url"}},
			"responses": object{"Problem": object{
				"description": "A problem (RFC 9457).", "headers": requestIDHeader(),
				"content": object{"application/problem+json": object{"schema": ref("Problem")}},
			}},
		},
	}
}

func requestIDHeader() object {
	return object{"X-Request-Id": object{"description": "The request's id, a new UUID, which is also the correlation of its events.", "schema": object{"type": "string", "format": "uuid"}}}
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

func operation(r api.Route, schemas object) object {
	o := object{
		"summary": r.Summary, "x-medledger-roles": r.Roles, "security": []any{object{"token": []any{}}},
		"responses": object{"default": object{"$ref": "#/components/responses/Problem"}},
	}
	if parameters := parametersOf(r, schemas); len(parameters) > 0 {
		o["parameters"] = parameters
	}
	if content := contentOf(r.Body, schemas); content != nil {
		o["requestBody"] = object{"required": true, "content": content}
	}
	answer := object{"description": "Done.", "headers": requestIDHeader()}
	if content := contentOf(r.Answer, schemas); content != nil {
		answer["content"] = content
	}
	o["responses"].(object)[string(rune('0'+r.Status/100))+string(rune('0'+r.Status/10%10))+string(rune('0'+r.Status%10))] = answer
	return o
}

func parametersOf(r api.Route, schemas object) (all []any) {
	for _, segment := range strings.Split(r.Path, "/") {
		if name, found := strings.CutPrefix(segment, "{"); found {
			all = append(all, object{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": schemaOf(reflect.TypeFor[events.ID](), schemas)})
		}
	}
	for _, p := range r.Query {
		all = append(all, object{"name": p.Name, "in": "query", "required": p.Required, "schema": schemaOf(reflect.TypeOf(p.Of), schemas)})
	}
	if r.Method != "GET" {
		all = append(all, object{
			"name": "Idempotency-Key", "in": "header", "required": false,
			"description": "A repeated command with the same key is answered what it was answered the first time, also after a crash.",
			"schema":      object{"type": "string", "minLength": 1, "maxLength": 257},
		})
	}
	return all
}

func contentOf(body any, schemas object) object {
	switch body.(type) {
	case nil:
		return nil
	case api.RawBody:
		return object{"*/*": object{}}
	case api.HistoryBody:
		return object{history.MediaType: object{}}
	case api.ReceiptBody:
		return object{"application/json": object{"schema": ref("Receipt")}}
	}
	return object{"application/json": object{"schema": schemaOf(reflect.TypeOf(body), schemas)}}
}

// codes are the closed sets, as far as they appear on the wire.
var codes = map[reflect.Type][]string{
	reflect.TypeFor[events.Role]():            {"clinician", "nurse", "clerk", "patient", "recipient", "auditor", "admin", "device", "system", "proxy"},
	reflect.TypeFor[events.Purpose]():         {"TREAT", "ETREAT", "BTG", "HPAYMT", "HOPERAT", "HRESCH", "PUBHLTH", "PATRQT", "FAMRQT", "HLEGAL", "HSYSADMIN"},
	reflect.TypeFor[events.Confidentiality](): {"U", "L", "M", "N", "R", "V"},
	reflect.TypeFor[events.Kind]():            {"chart", "surgery", "nursing", "midwifery", "laboratory", "radiology", "prescription", "certificate", "observation", "bundle"},
	reflect.TypeFor[events.ProxyScope]():      {"consents", "destruction", "read"},
	reflect.TypeFor[events.Ground]():          {"patient-request", "retention-ended", "purpose-ended", "unlawful-storage"},
}

func TestCodesOfTheDocument(t *testing.T) {
	for kind, list := range codes {
		for _, c := range list {
			v := reflect.New(kind).Elem()
			v.SetString(c)
			if !v.Interface().(interface{ Valid() bool }).Valid() {
				t.Errorf("%v: %q is no code", kind, c)
			}
		}
	}
}

// schemaOf returns the schema of a wire type; structs become components.
func schemaOf(t reflect.Type, schemas object) object {
	switch {
	case t == reflect.TypeFor[events.ID]():
		return object{"type": "string", "format": "uuid", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"}
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return ref("Receipt")
	case codes[t] != nil:
		return object{"type": "string", "enum": codes[t]}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), schemas)
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": schemaOf(t.Elem(), schemas)}
	}
	if schemas[t.Name()] == nil {
		properties, required := make(object), []string{}
		fields(t, schemas, properties, &required)
		schemas[t.Name()] = object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	}
	return ref(t.Name())
}

func fields(t reflect.Type, schemas, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			fields(f.Type, schemas, properties, required)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		properties[name] = schemaOf(f.Type, schemas)
		if options == "" {
			*required = append(*required, name)
		}
	}
}

func receiptSchema() object {
	base64 := object{"type": "string", "contentEncoding": "base64", "minLength": 1}
	return object{
		"type": "object", "additionalProperties": false, "required": []string{"statement", "status"},
		"description": "A self-contained proof that an event is in the log; medverify checks it.",
		"properties": object{
			"status": object{"type": "string", "enum": []string{"proved", "promised"}}, "statement": base64, "proof": base64,
			"keys": object{"type": "array", "minItems": 1, "items": object{
				"type": "object", "additionalProperties": false, "required": []string{"proof", "statement"},
				"properties": object{"proof": base64, "statement": base64},
			}},
		},
	}
}

// logOperations are the endpoints that are no commands.
func logOperations() map[string]object {
	get := func(summary, mediaType string, roles []events.Role, path ...string) object {
		o := object{"summary": summary, "responses": object{
			"200":     object{"description": "It.", "headers": requestIDHeader(), "content": object{mediaType: object{}}},
			"default": object{"$ref": "#/components/responses/Problem"},
		}}
		if roles != nil {
			o["x-medledger-roles"], o["security"] = roles, []any{object{"token": []any{}}}
		}
		var parameters []any
		for _, name := range path {
			parameters = append(parameters, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string"}})
		}
		if parameters != nil {
			o["parameters"] = parameters
		}
		return o
	}
	return map[string]object{
		"/log/checkpoint":              get("The newest signed checkpoint (C2SP tlog-checkpoint)", "text/plain", nil),
		"/log/tile/{level}/{tile}":     get("A hash tile (C2SP tlog-tiles)", "application/octet-stream", nil, "level", "tile"),
		"/log/tile/entries/{bundle}":   get("An entry bundle (C2SP tlog-tiles)", "application/octet-stream", []events.Role{events.RoleAuditor}, "bundle"),
		"/state/checkpoint":            get("The newest signed checkpoint of the state log (C2SP tlog-checkpoint)", "text/plain", nil),
		"/state/tile/{level}/{tile}":   get("A hash tile of the state log (C2SP tlog-tiles)", "application/octet-stream", nil, "level", "tile"),
		"/state/tile/entries/{bundle}": get("An entry bundle of the state log (C2SP tlog-tiles)", "application/octet-stream", nil, "bundle"),
		"/openapi.json":                get("This document", "application/json", nil),
		"/healthz":                     get("Whether the process runs", "text/plain", nil),
		"/readyz":                      get("Whether the ledger accepts commands", "text/plain", nil),
		"/metrics":                     get("Prometheus' text format", "text/plain", nil),
	}
}
