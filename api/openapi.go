package api

import (
	_ "embed" // the document
	"net/http"
)

// openAPIDocument describes every endpoint (OpenAPI 3.1). It is made from the
// table of routes and the wire types by a test, which also holds it against them:
//
//	go test ./api -run TestOpenAPIDocument -update
//
//go:embed openapi.json
var openAPIDocument []byte

func (h *handler) openAPI(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-cache")
	return send(w, r, jsonType, openAPIDocument)
}
