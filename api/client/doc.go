// Package client speaks to a medledger over HTTP: the JSON that goes in and out of
// every call, which the server uses too, and a thin client over net/http.
//
// It verifies nothing. A receipt is kept as the bytes that the ledger answered
// with; verifier/receipt checks it against the log's verifier key.
//
// # Conventions
//
// Ids are UUIDs in lower case. Times are RFC 3339; the ledger cuts them to
// microseconds and answers in UTC. Codes (roles, purposes, kinds, ...) are those of
// package events. Members that have no value are left out. What a caller may not
// know of is answered as if it did not exist: 404.
//
// # Errors
//
// Every call returns an *Error if the ledger's answer is not a success, and else wraps
// what net/http failed with: then it is not known whether a command took effect, and
// the same command with the same key (WithKey) finds out.
package client
