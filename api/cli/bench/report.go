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
	Figures []figure  `json:"figures"`
}

// tableWidth is the longest line of a table in characters.
const tableWidth = 80

// preamble says once what is true of all figures.
const preamble = `Through the ledger's Go interface, without HTTP. Load, verification and ledger
share one process and all cores of the machine. An append is a new record of
1 KiB, encrypted, durable and answered with its receipt; one receipt in a
hundred is verified from its bytes. Figures of one run, one after another;
"met, not full" is measured on a smaller log than the budget is for.`

// writeTable writes the report for people, in lines of at most 80 characters.
func (r *report) writeTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n", preamble, r.Machine.describe())
	fmt.Fprintf(&b, "log of %s events over %s records\n\n", grouped(float64(r.Events)), grouped(float64(r.Records)))
	fmt.Fprintf(&b, "%-36s %11s %13s  %s\n", "what", "figure", "budget", "verdict")
	b.WriteString(strings.Repeat("-", tableWidth) + "\n")
	for _, f := range r.Figures {
		line := fmt.Sprintf("%-36s %11s %13s  %s", f.What, inUnit(f.Value, f.Unit), f.limit(), f.verdict())
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		for _, line := range wrap(f.Detail, tableWidth-4) {
			b.WriteString("    " + line + "\n")
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
