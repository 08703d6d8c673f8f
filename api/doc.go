// Package api is how the outside talks to a ledger over HTTP. It turns requests
// into calls of the ledger and the ledger's answers and errors into responses;
// it decides nothing. One folder beneath it is one other entrance: cli is the
// command line.
//
// # Endpoints
//
//	GET /log/checkpoint                   the newest signed checkpoint
//	GET /log/tile/{L}/{N}[.p/{W}]         a hash tile
//	GET /log/tile/entries/{N}[.p/{W}]     an entry bundle
//	GET /healthz                          200 while the process runs
//	GET /readyz                           200 while the ledger accepts commands
//	GET /metrics                          Prometheus' text format
//
// HEAD is allowed wherever GET is. Everything under /log/ is C2SP tlog-tiles
// (https://c2sp.org/tlog-tiles) with <prefix> = /log: the same bytes as the
// files of the log's folder, so any client of tiled logs reads it. What the
// checkpoint does not cover is not served.
//
// # Paths
//
// A path names a resource in exactly one spelling. Paths are compared as they
// were sent: escapes, doubled slashes, dot segments and trailing slashes are
// neither decoded nor cleaned nor redirected, they name nothing and get 404.
// Query strings are ignored.
//
// # Errors
//
// Every error is a problem (RFC 9457, application/problem+json) of type
// about:blank, whose detail says what the client can do. What went wrong inside
// the server is in its log and never in a response. The exceptions are requests
// that are not HTTP, or whose header is over MaxHeaderBytes: net/http answers
// those itself, in plain text, before they get here.
//
// # Privacy
//
// Neither log lines nor metrics hold a path, a query, an address or a header of
// a request: they name the route (as in the table above), the status, the
// duration and the size of the response.
package api
