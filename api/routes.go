package api

import (
	"time"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// route is an endpoint under /v1. The table of them is where the router, the
// OpenAPI document and the tests of all roles on all routes come from.
type route struct {
	method, path string
	summary      string
	// action is what the endpoint asks the ledger for; "" if anybody with a token
	// may ask, and the ledger decides by what they ask about.
	action events.Action
	query  []parameter
	body   any // a value of the wire type; rawBody; nil if there is none
	answer any // a value of the wire type; rawBody; nil if there is none
	status int // of success
	serve  func(*call) error
}

// rawBody stands for a content of any media type.
type rawBody struct{}

// parameter is one of a query string. Of is a value of its type.
type parameter struct {
	name     string
	required bool
	of       any
}

var (
	anyPurpose = parameter{"purpose", false, events.Purpose("")}
	cursor     = parameter{"cursor", false, ""}
)

// routes are in the order of the documentation.
var routes = []route{
	{"POST", "/v1/actors", "Register an actor, with a first token that is shown this once", events.ActionRegister,
		nil, client.Registration{}, client.Registered{}, 201, (*call).registerActor},
	{"POST", "/v1/actors/{actor}/tokens", "Issue a token, which is shown this once", events.ActionIssueToken,
		nil, client.TokenRequest{}, client.IssuedToken{}, 201, (*call).issueToken},
	{"GET", "/v1/actors/{actor}/tokens", "List an actor's tokens, without their secrets", events.ActionIssueToken,
		nil, nil, client.Tokens{}, 200, (*call).listTokens},
	{"DELETE", "/v1/actors/{actor}/tokens/{token}", "Revoke a token", events.ActionRevokeToken,
		nil, nil, nil, 204, (*call).revokeToken},

	{"POST", "/v1/patients", "Register a patient under external identifiers", events.ActionRegisterPatient,
		nil, client.NewPatient{}, client.Created{}, 201, (*call).registerPatient},
	{"GET", "/v1/patients", "Find a patient by an external identifier", events.ActionLookUpPatient,
		[]parameter{{"system", true, ""}, {"value", true, ""}, anyPurpose}, nil, client.FoundPatient{}, 200, (*call).findPatient},
	{"POST", "/v1/patients/{patient}/merge", "Merge a patient into another who is the same person", events.ActionMergePatient,
		nil, client.Merge{}, client.Done{}, 200, (*call).mergePatients},
	{"POST", "/v1/patients/{patient}/care-relationships", "Open a care relationship", events.ActionOpenCare,
		nil, client.Care{}, client.Created{}, 201, (*call).openCare},
	{"DELETE", "/v1/patients/{patient}/care-relationships/{relationship}", "Close a care relationship", events.ActionCloseCare,
		nil, nil, client.Done{}, 200, (*call).closeCare},
	{"POST", "/v1/patients/{patient}/proxies", "Appoint a proxy", events.ActionAppointProxy,
		nil, client.Appointment{}, client.Created{}, 201, (*call).appointProxy},
	{"DELETE", "/v1/patients/{patient}/proxies/{appointment}", "Dismiss a proxy", events.ActionDismissProxy,
		nil, nil, client.Done{}, 200, (*call).dismissProxy},
	{"POST", "/v1/patients/{patient}/consents", "Grant a consent", events.ActionGrantConsent,
		nil, client.Consent{}, client.Created{}, 201, (*call).grantConsent},
	{"DELETE", "/v1/patients/{patient}/consents", "Withdraw a consent that was only implied", events.ActionWithdrawConsent,
		[]parameter{{"purpose", true, events.Purpose("")}}, nil, client.Done{}, 200, (*call).withdrawImplied},
	{"DELETE", "/v1/patients/{patient}/consents/{consent}", "Withdraw a consent", events.ActionWithdrawConsent,
		nil, nil, client.Done{}, 200, (*call).withdrawConsent},
	{"GET", "/v1/patients/{patient}/rights", "List care relationships, proxies and consents", events.ActionListRecords,
		[]parameter{anyPurpose}, nil, client.Rights{}, 200, (*call).rights},
	{"GET", "/v1/patients/{patient}/records", "List a patient's records", events.ActionListRecords,
		[]parameter{{"kind", false, events.Kind("")}, {"from", false, time.Time{}}, {"to", false, time.Time{}}, cursor, anyPurpose},
		nil, client.Records{}, 200, (*call).listRecords},
	{"GET", "/v1/patients/{patient}/accesses", "List who saw or received what of a patient", events.ActionListAccesses,
		[]parameter{cursor, anyPurpose}, nil, client.Accesses{}, 200, (*call).listAccesses},

	{"POST", "/v1/records", "Store a record", events.ActionOriginate,
		[]parameter{{"patient", true, events.ID{}}, {"kind", true, events.Kind("")}, {"confidentiality", true, events.Confidentiality("")}},
		rawBody{}, client.RecordVersion{}, 201, (*call).createRecord},
	{"POST", "/v1/records:batch", "Store many records, each with its own outcome", events.ActionOriginate,
		nil, client.Batch{}, client.BatchResults{}, 200, (*call).createRecords},
	{"PUT", "/v1/records/{record}/content", "Amend a record: a new version, the old ones stay", events.ActionAmend,
		nil, rawBody{}, client.RecordVersion{}, 200, (*call).amendRecord},
	{"GET", "/v1/records/{record}/content", "Read a record", events.ActionAccess,
		[]parameter{{"purpose", true, events.Purpose("")}, {"version", false, uint32(0)}}, nil, rawBody{}, 200, (*call).readRecord},
	{"PUT", "/v1/records/{record}/patient", "File a record under another patient", events.ActionRefile,
		nil, client.Refiling{}, client.Done{}, 200, (*call).refileRecord},
	{"GET", "/v1/records/{record}/events", "Read the events about a record", events.ActionReadHistory,
		[]parameter{cursor}, nil, client.RecordEvents{}, 200, (*call).recordEvents},
	{"GET", "/v1/records/{record}/history", "Get the proof that these are all the events about a record", events.ActionReadHistory,
		nil, nil, historyBody{}, 200, (*call).history},
	{"POST", "/v1/records/{record}/shares", "Disclose a record to a recipient", events.ActionDisclose,
		nil, client.ShareRequest{}, client.Created{}, 201, (*call).share},
	{"POST", "/v1/records/{record}/destruction-requests", "Ask for the destruction of a record", events.ActionRequestDestruction,
		nil, client.DestructionRequest{}, client.Created{}, 201, (*call).requestDestruction},

	{"GET", "/v1/shares/{share}/content", "Receive what is shared", events.ActionReceive,
		nil, nil, rawBody{}, 200, (*call).receive},
	{"POST", "/v1/shares/{share}/acknowledgement", "Acknowledge what was received", events.ActionAcknowledge,
		nil, nil, client.Done{}, 200, (*call).acknowledge},
	{"DELETE", "/v1/shares/{share}", "End a share before its time", events.ActionEndShare,
		nil, nil, client.Done{}, 200, (*call).endShare},
	{"GET", "/v1/destruction-requests", "List the destructions that wait for approval", events.ActionDestroy,
		nil, nil, client.PendingDestructions{}, 200, (*call).pendingDestructions},
	{"POST", "/v1/destruction-requests/{destruction}/approval", "Approve a destruction that somebody else asked for; it is done when this is answered", events.ActionDestroy,
		nil, nil, client.Destroyed{}, 200, (*call).approveDestruction},
	{"GET", "/v1/receipts/{event}", "Get the receipt of an event at the current checkpoint", "",
		[]parameter{{"wait", false, uint32(0)}}, nil, receiptBody{}, 200, (*call).receipt},
}

// historyBody stands for a completeness bundle (verifier/history).
type historyBody struct{}

// receiptBody stands for a receipt (verifier/receipt).
type receiptBody struct{}
