// Package bench measures a ledger against its budgets (ledger/DESIGN.md,
// Budgets) through the Go interface that the entrances use: run.go is the order
// of a run, rows.go what happens while the ledger is open, outside.go what is
// looked at from other processes and from disk.
//
// Only the command line calls it.
package bench
