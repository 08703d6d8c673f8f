// Package api is how the outside talks to a ledger over HTTP. It turns requests
// into calls of the ledger and the ledger's answers and errors into responses;
// it decides nothing. The folders beneath it are the other entrances (cli, the
// command line, and control, by which that reaches a running server), the other side
// of this one (client), and tests of the real binaries (crash, e2e).
//
// # Endpoints
//
// Everything under /v1 needs a token. Bodies are the wire types of api/client; the
// document at /openapi.json is made from the same table (routes.go) as the router,
// and names the roles that each operation is for.
//
//	POST   /v1/actors                                       register; the token is shown this once
//	POST   /v1/actors/{actor}/tokens                        issue a token
//	GET    /v1/actors/{actor}/tokens                        an actor's tokens, without their secrets
//	DELETE /v1/actors/{actor}/tokens/{token}                revoke one: 204
//	POST   /v1/patients                                     register under external identifiers
//	GET    /v1/patients?system=&value=[&purpose=]           find by one
//	POST   /v1/patients/{patient}/merge                     into another
//	POST   /v1/patients/{patient}/care-relationships        open; DELETE …/{relationship} closes
//	POST   /v1/patients/{patient}/proxies                   appoint; DELETE …/{appointment} dismisses
//	POST   /v1/patients/{patient}/consents                  grant; DELETE …/{consent} withdraws
//	DELETE /v1/patients/{patient}/consents?purpose=         withdraw what was only implied
//	GET    /v1/patients/{patient}/rights[?purpose=]         who cares, who acts for them, what they agreed to
//	GET    /v1/patients/{patient}/records?kind=&from=&to=&cursor=&purpose=
//	GET    /v1/patients/{patient}/accesses?cursor=&purpose= who saw or received what
//	POST   /v1/records?patient=&kind=&confidentiality=      store: the body is the content
//	POST   /v1/records:batch                                store many, each with its own outcome
//	PUT    /v1/records/{record}/content                     amend
//	GET    /v1/records/{record}/content?purpose=[&version=] read
//	PUT    /v1/records/{record}/patient                     file under another patient
//	GET    /v1/records/{record}/events[?cursor=]            its events
//	GET    /v1/records/{record}/history                     the proof that these are all (verifier/history)
//	POST   /v1/records/{record}/shares                      disclose
//	GET    /v1/shares/{share}/content                       receive
//	POST   /v1/shares/{share}/acknowledgement               acknowledge
//	DELETE /v1/shares/{share}                               end
//	POST   /v1/records/{record}/destruction-requests        ask for the destruction
//	GET    /v1/destruction-requests                         what waits for approval
//	POST   /v1/destruction-requests/{destruction}/approval  approve what somebody else asked for
//	GET    /v1/receipts/{event}[?wait=]                     the receipt, at the current checkpoint
//
//	GET /log/checkpoint                   the newest signed checkpoint
//	GET /log/tile/{L}/{N}[.p/{W}]         a hash tile
//	GET /log/tile/entries/{N}[.p/{W}]     an entry bundle, for auditors
//	GET /state/…                          the same of the state log (verifier/state),
//	                                      its entry bundles for everybody
//	GET /openapi.json                     what all this looks like (OpenAPI 3.1)
//	GET /healthz                          200 while the process runs
//	GET /readyz                           200 while the ledger accepts commands;
//	                                      503 from the moment it is told to stop
//	GET /metrics                          Prometheus' text format
//
// Outside /v1, HEAD is allowed wherever GET is. Reading under /v1 is an event, so
// that HEAD, which would leave one for nothing, is not offered there.
//
// Everything under /log/ and /state/ is C2SP tlog-tiles (https://c2sp.org/tlog-tiles)
// with <prefix> = /log or /state: the same bytes as the files of the log's folder, so
// any client of tiled logs reads it. What the checkpoint does not cover is not served.
//
// # Requests
//
// A token is sent as 'Authorization: Bearer mlt_…'. JSON is read strictly (see
// decode.go), query parameters are those of the operation, each once, and so are
// Authorization, Content-Type, Idempotency-Key and If-Match: what
// could mean one thing here and another to something before us is refused.
//
// Every POST, PUT and DELETE takes an Idempotency-Key
// (draft-ietf-httpapi-idempotency-key-header): the same command with the same key,
// by the same actor, is answered what it was answered the first time, also after a
// crash, and another command with the key is refused with 422. A token is shown
// once; a repetition has tokenShown instead. The steps of a call that leads to
// several events, and the items of a batch, have keys that derive from the call's.
//
// Every answer has an X-Request-Id, a new UUID, which joins the events of the request
// (their correlation) and its line in the server's log. What a client sends under
// that name is ignored: nothing of others' making enters the log.
//
// PUT content takes an If-Match with the ETag of the version that it amends, and
// answers 412 if another is the newest by now.
//
// # Answers
//
// A command is answered with its event, the event's index and its receipt, in the
// body and (without the receipt) as Medledger-Event and Medledger-Index. A content
// that cannot be handed over whole, because the client goes away or the right to
// read it ends, is cut off in the middle: only an answer that ended was whole. The
// log says that it was not delivered. A history is cut off likewise, and is not a
// bundle then: its end is part of what verifies.
//
// # Paths
//
// A path names a resource in exactly one spelling. Paths are compared as they
// were sent: escapes, doubled slashes, dot segments and trailing slashes are
// neither decoded nor cleaned nor redirected, they name nothing and get 404.
// Outside /v1 query strings are ignored.
//
// # Errors
//
// Every error is a problem (RFC 9457, application/problem+json) of type
// about:blank, whose detail says what the client can do, and whose reason says why
// the rules refused something, where that tells the caller nothing that they may
// not know: what they may not know of is answered exactly as what does not exist,
// with 404 (refusal.go). A role that does not do something at all is told so with
// 403, whatever it asks about. What went wrong inside
// the server is in its log and never in a response. The exceptions are requests
// that are not HTTP, or whose header is over MaxHeaderBytes: net/http answers
// those itself, in plain text, before they get here.
//
// A server that works on as many requests as it takes, or on as many batches as it
// has memory for, answers further ones with 429 and Retry-After; /healthz and
// /readyz are always answered, and /metrics to a few at a time. What needs no token
// gets a quarter of the places. A client that stalls in the middle of a request or of
// an answer is cut off (Patience); if it can still be answered, with 408.
//
// # Metrics
//
// All of them, with kind and unit. Those of Go and of the process (go_*,
// process_*) are Prometheus' own and depend on the system.
//
//	medledger_http_requests_in_flight                   gauge      requests     being answered
//	medledger_http_requests_total                       counter    requests     answered, by route and class of status
//	medledger_http_request_duration_seconds             histogram  seconds      from the end of a request's header to the end of its answer, by route
//	medledger_http_requests_rejected_total              counter    requests     answered 429 because the server was full, which are in none of the three above
//	medledger_http_requests_stalled_total               counter    requests     given up on a stalled client, by direction (body, answer)
//	medledger_http_connections                          gauge      connections  open
//	medledger_commands_refused_total                    counter    commands     that the access rules refused, by action; each is an event too
//	medledger_unauthenticated_total                     counter    requests     without a token that is worth something, where one is needed
//	medledger_undelivered_total                         counter    contents     released and not delivered whole; each is an event too
//	medledger_tls_certificate_expiry_timestamp_seconds  gauge      seconds      since 1970 at which the certificate in use ends; 0 without TLS
//	medledger_log_size                                  gauge      events       that the newest checkpoint covers
//	medledger_log_checkpoint_timestamp_seconds          gauge      seconds      since 1970 at which the newest checkpoint was made; 0 if not known
//	medledger_ledger_stopped                            gauge      1 or 0       1 once the ledger stopped itself after a failed write
//	medledger_backup_last_success_timestamp_seconds     gauge      seconds      since 1970 at which the last backup that succeeded was begun; 0 if there is none
//	medledger_backup_failures_total                     counter    backups      that failed since the server was started
//	medledger_backup_duration_seconds                   gauge      seconds      that the last backup took that succeeded since then
//	medledger_backup_bytes                              gauge      bytes        of the data side's increment of that backup
//	medledger_build_info                                gauge      1            always; labels are the version of the program and of its Go
//
// # Privacy
//
// Neither log lines nor metrics hold a path, a query, an address or a header of
// a request: they name the route (as in the table above), the status, the
// duration and the size of the response, and log lines the request's id.
package api
