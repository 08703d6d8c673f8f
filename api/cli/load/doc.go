// Package load keeps a ledger busy: workers who call it again and again (Drive),
// the people and records that they need (Scene), and a steady, mixed load of all
// commands together, which is the hidden command 'medledger load' (mixed.go).
//
// What the mixed load writes is for others to watch, or to hold the ledger to
// after its process was killed (Line). Only the command line, the benchmark and
// the crash tests use this package.
package load
