// Package bench measures a ledger against its budgets (ledger/DESIGN.md, Budgets):
// the real service in one process, which is called over HTTP from a second one that
// makes the load, both of them this program (medledger serve, medledger load).
//
// run.go is the order of a run, grow.go makes a log of the size that is to be
// measured, rows.go measures the service, outside.go looks at what lies on disk, and
// service.go and generator.go are the two processes. report.go is the table.
//
// Only the command line calls it.
package bench
