package api

import (
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/receipt"
)

// Route is a route, for the tests that make the OpenAPI document and walk over all
// routes.
type Route struct {
	Method, Path, Summary string
	Roles                 []events.Role
	Query                 []Parameter
	Body, Answer          any
	Status                int
}

// Parameter is one of a query string.
type Parameter struct {
	Name     string
	Required bool
	Of       any
}

// RawBody, HistoryBody and ReceiptBody stand for bodies that are no wire types.
type (
	RawBody     = rawBody
	HistoryBody = historyBody
	ReceiptBody = receiptBody
)

// Routes returns the table of routes.
func Routes() []Route {
	var all []Route
	for i := range routes {
		rt := &routes[i]
		out := Route{rt.method, rt.path, rt.summary, rolesOf(rt), nil, rt.body, rt.answer, rt.status}
		for _, p := range rt.query {
			out.Query = append(out.Query, Parameter{p.name, p.required, p.of})
		}
		all = append(all, out)
	}
	return all
}

// rolesOf are the roles that may ask for a route's action.
func rolesOf(rt *route) []events.Role {
	if rt.action == "" {
		return decision.Roles(events.ActionRevokeToken) // everybody
	}
	return decision.Roles(rt.action)
}

// AppendReceipts writes receipts as answers do.
func AppendReceipts(all []*receipt.Receipt) (texts [][]byte) {
	var e receipts
	for _, r := range all {
		texts = append(texts, e.append(nil, r))
	}
	return texts
}

// DecodeStrict reads JSON as requests are read.
func DecodeStrict(text []byte, out any) error { return decodeStrict(text, out) }

// IdempotencyKey reads the header of that name.
func IdempotencyKey(value string) (string, error) { return idempotencyKey([]string{value}) }
