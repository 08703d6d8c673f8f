// Package crash kills the real medledger under load, again and again, and holds
// the ledger to everything that it had promised. It has tests only.
//
// One ledger lives through all rounds. A round starts 'medledger load' on it,
// kills it at a random moment (while it opens the ledger or while it works) and
// opens the ledger again. Then every acknowledged event must be in the log at
// its index with its bytes; contents that were acknowledged must open for those who
// treat the patient and for nobody else, unless the log says that consent was
// withdrawn or the record destroyed; patients must be found by their identifiers,
// after all merges, and those erased by nobody; tokens must log in until they are
// revoked; what was refused without a trace must have left none; started
// destructions must be complete, and patients without records erased; and medverify
// must find nothing false, against the checkpoint of the round before as well.
//
// The normal run has 5 rounds. MEDLEDGER_LONG=1 makes them 200,
// MEDLEDGER_CRASH_ROUNDS any number, and MEDLEDGER_CRASH_SEED repeats the times of
// an earlier run. What the kills interrupt is not repeatable.
//
// A killed process leaves the operating system's caches whole, so this says
// nothing of power failures: for those, the fault tables of each package fail and
// forget writes one by one.
package crash
