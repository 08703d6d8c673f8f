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
//	GET /readyz                           200 while the ledger accepts commands;
//	                                      503 from the moment it is told to stop
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
// A server that works on as many requests as it takes answers further ones with
// 429 and Retry-After; /healthz, /readyz and /metrics are always answered. A
// client that stalls in the middle of a request or of an answer is cut off
// (Patience); if it can still be answered, with 408.
//
// # Metrics
//
// All of them, with kind and unit. Those of Go and of the process (go_*,
// process_*) are Prometheus' own and depend on the system.
//
//	medledger_http_requests_in_flight                   gauge      requests     being answered
//	medledger_http_requests_total                       counter    requests     answered, by route and class of status
//	medledger_http_request_duration_seconds             histogram  seconds      from the end of a request's header to the end of its answer, by route
//	medledger_http_requests_rejected_total              counter    requests     answered 429, which are in none of the three above
//	medledger_http_requests_stalled_total               counter    requests     given up on a stalled client, by direction (body, answer)
//	medledger_http_connections                          gauge      connections  open
//	medledger_tls_certificate_expiry_timestamp_seconds  gauge      seconds      since 1970 at which the certificate in use ends; 0 without TLS
//	medledger_log_size                                  gauge      events       that the newest checkpoint covers
//	medledger_log_checkpoint_timestamp_seconds          gauge      seconds      since 1970 at which the newest checkpoint was made; 0 if not known
//	medledger_ledger_stopped                            gauge      1 or 0       1 once the ledger stopped itself after a failed write
//	medledger_build_info                                gauge      1            always; labels are the version of the program and of its Go
//
// # Privacy
//
// Neither log lines nor metrics hold a path, a query, an address or a header of
// a request: they name the route (as in the table above), the status, the
// duration and the size of the response.
package api
