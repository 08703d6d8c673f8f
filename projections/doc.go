// Package projections is the read side: what the events say, arranged for those who
// ask. It has no code of its own; each folder beneath it is one projection.
//
//	access   actors, patients and their rights, records: what commands are decided
//	         on, and whose rights the API asks for
//	records  which records there are of a patient, in pages
//
// Who saw what of a patient has no projection: it is read from the streams of the
// event store, which have it in order (ledger.ListAccesses).
//
// # How they are run
//
// The ledger's single writer runs them (ledger/turn.go): it applies an event in the
// turn that makes it, before the event is answered.
//
//	position          how many events were applied (access.Projection.Position); the
//	                  log index of the next one
//	read your writes  whoever was answered finds the effect of their command in every
//	                  later answer, because it was applied before; a list names the
//	                  event that it was answered with, and is as new as that
//	version           of the copy on disk; a copy of another version, of a longer log,
//	                  or that was altered is thrown away
//	copy              access.sqlite, written behind and authenticated, so that a start
//	                  replays what it lags behind and not the whole log; a crash in
//	                  between costs that replay
//	rebuild           medledger rebuild, or deleting the copy: all of it is made again
//	                  from the events, which are verified on the way
//
// A follower of the log in another process, which has to say how far it is before it
// answers, comes with the event store that several processes share.
package projections
