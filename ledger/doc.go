// Package ledger is the write side: a command is decided, becomes a signed
// statement, is made durable in the event store and in the transparency log,
// and is answered with a proof.
//
// # One turn
//
// Commands queue up for a single writer, which takes them in turns (turn.go). A
// turn goes through two stages; while the second works on a turn, the first works
// on the next.
//
// Stage 1, decide:
//
//	decide   each command, in order, on the state that the ones before it left;
//	         each becomes an event at the next log index
//	sign     all statements, on all cores
//
// Stage 2, commit:
//
//	commit   all statements to the event store, in one durable write; meanwhile
//	         the map of where every record stands goes on in memory (standing.go)
//	log      their leaf hashes into Trillian's tree; write the tiles; sign the
//	         checkpoint, and make it and the leaf of the state log durable
//	answer   every command, with its index and the checkpoint that covers it
//
// A command is therefore never decided on anything but the state at its own
// index, and nothing is released before it is durable and logged.
//
// # What a crash leaves
//
//	right after this is durable     a crash leaves
//
//	content and key in the vault    an orphan, which the next Open removes
//	the events in the store         events that happened; the next Open logs them
//	the tiles                       derived data, made again from the events
//	the leaf of the state log       a leaf of a size that the log has or comes to
//	the checkpoint                  a proof that nobody has seen
//	checkpoints.kept, now and then  a file that is as old as the one before it, or
//	                                as new as what was published (kept.go)
//
// A write that fails stops the ledger (ErrStopped): what is on the disk is then
// found out by opening it again, by the same code that runs after a crash.
package ledger
