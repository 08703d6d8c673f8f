package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// unit is what a figure is counted in.
type unit string

// The units.
const (
	perSecond    unit = "/s"
	milliseconds unit = "ms"
	seconds      unit = "s"
	megabytes    unit = "MB" // of 1,000,000 bytes
	octets       unit = "B"
	percent      unit = "%"
	times        unit = "times"
)

// budget is a limit that ledger/DESIGN.md sets under Budgets.
type budget struct {
	Limit float64 `json:"limit"`
	// AtMost says that less is better.
	AtMost bool `json:"atMost"`
	// Events is the size of the log that the budget is for; zero for any.
	Events uint64 `json:"events,omitempty"`
}

// figure is one line of the table: what was measured, against its budget.
type figure struct {
	What   string  `json:"what"`
	Value  float64 `json:"value"`
	Unit   unit    `json:"unit"`
	Budget *budget `json:"budget,omitempty"`
	// Events is how many events the log had when it was measured.
	Events uint64 `json:"events"`
	// Detail says what else is to be known: the rest of a distribution, and
	// what the figure leaves out.
	Detail string `json:"detail,omitempty"`
	// Cost is what a row over HTTP took; nil for others.
	Cost *cost `json:"cost,omitempty"`
}

// cost is what a row took, on either side.
type cost struct {
	Calls     int     `json:"calls"`
	Service   float64 `json:"service"`   // processor seconds, user and system
	Generator float64 `json:"generator"` // the same
	Memory    uint64  `json:"memory"`    // of the service, resident, at the end of the row
	Sent      int64   `json:"sent"`      // bytes that the generator sent, headers too
	Received  int64   `json:"received"`
}

func (c *cost) String() string {
	calls := float64(c.Calls)
	return fmt.Sprintf("a call: service %.3f ms and generator %.3f ms of processor time (%.0f %% the generator's), "+
		"%s B sent, %s B received; service then %s MB resident",
		1000*c.Service/calls, 1000*c.Generator/calls, 100*c.Generator/max(c.Service+c.Generator, 1e-9),
		grouped(float64(c.Sent)/calls), grouped(float64(c.Received)/calls), grouped(float64(c.Memory)/1e6))
}

// missedBy is by which share of its budget a figure misses it; zero if it is met.
func (f figure) missedBy() float64 {
	if f.Budget == nil {
		return 0
	}
	over := 1 - f.Value/f.Budget.Limit
	if f.Budget.AtMost {
		over = -over
	}
	return max(over, 0)
}

func (f figure) verdict() string {
	switch {
	case f.Budget == nil:
		return ""
	case f.missedBy() >= 9:
		return fmt.Sprintf("missed %.0f-fold", 1+f.missedBy())
	case f.missedBy() > 0:
		return fmt.Sprintf("missed by %.0f %%", max(100*f.missedBy(), 1))
	case f.Events < f.Budget.Events:
		return "met, not full"
	}
	return "met"
}

// report is the result of a run.
type report struct {
	Time    time.Time `json:"time"`
	Machine machine   `json:"machine"`
	Events  uint64    `json:"events"`  // that the log was grown to
	Records uint64    `json:"records"` // among them
	// Patients is how many patients the records are of.
	Patients uint64   `json:"patients"`
	Figures  []figure `json:"figures"`
}

// tableWidth is the longest line of a table in characters.
const tableWidth = 80

// preamble says once what is true of all figures.
const preamble = `The real service in one process, called over HTTP (plain, connections kept
alive) from a second one on the same machine: both share its cores. An append is
a new record of 1 KiB, encrypted, durable and answered with its receipt; the
client verifies one receipt in a hundred with the log's key alone. A read is
decided, logged, decrypted and read to its end. Figures of one run, one after
another; "met, not full" is measured on a smaller log than the budget is for.`

// writeTable writes the report for people, in lines of at most 80 characters.
func (r *report) writeTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n", preamble, r.Machine.describe())
	fmt.Fprintf(&b, "log of %s events over %s records of %s patients\n\n",
		grouped(float64(r.Events)), grouped(float64(r.Records)), grouped(float64(r.Patients)))
	fmt.Fprintf(&b, "%-36s %11s %13s  %s\n", "what", "figure", "budget", "verdict")
	b.WriteString(strings.Repeat("-", tableWidth) + "\n")
	for _, f := range r.Figures {
		line := fmt.Sprintf("%-36s %11s %13s  %s", f.What, inUnit(f.Value, f.Unit), f.limit(), f.verdict())
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		for _, line := range wrap(f.Detail, tableWidth-4) {
			b.WriteString("    " + line + "\n")
		}
		if f.Cost != nil {
			for _, line := range wrap(f.Cost.String(), tableWidth-4) {
				b.WriteString("    " + line + "\n")
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (f figure) limit() string {
	switch {
	case f.Budget == nil:
		return ""
	case f.Budget.AtMost:
		return "<= " + inUnit(f.Budget.Limit, f.Unit)
	}
	return ">= " + inUnit(f.Budget.Limit, f.Unit)
}

// inUnit writes a number with its unit, with as many digits as say something.
func inUnit(v float64, u unit) string {
	switch {
	case u == perSecond:
		return grouped(v) + "/s"
	case (u == milliseconds || u == seconds) && v < 100:
		return strconv.FormatFloat(v, 'f', 2, 64) + " " + string(u)
	case u == times:
		return strconv.FormatFloat(v, 'f', 1, 64) + " " + string(u)
	}
	return grouped(v) + " " + string(u)
}

func millis(d time.Duration) string { return inUnit(float64(d)/1e6, milliseconds) }

// grouped writes a number without decimals, with commas between thousands.
func grouped(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// wrap breaks a text into lines of at most width characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
