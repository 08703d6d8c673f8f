package medverify

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/medledger/medledger/verifier/audit"
)

const (
	columns = 80
	// Findings are printed with their evidence up to the first number, and as
	// one paragraph up to the second; the others are counted.
	withEvidence = 10
	withWords    = 40
)

// table is an aligned list of names and values.
type table struct{ strings.Builder }

func (t *table) row(name, value string) {
	const width = 13
	text := wrap(value, width+3)
	fmt.Fprintf(t, "  %-*s %s", width, name, strings.TrimLeft(text, " "))
}

// goodReport says what was verified.
func goodReport(r *audit.Report, kept string, took time.Duration) string {
	var t table
	t.row("origin", r.Checkpoint.Origin)
	t.row("events", count(r.Checkpoint.Size)+", all signed, all included")
	t.row("", "every life legal, every decision right")
	t.row("tree root", r.Checkpoint.Root.String())
	if r.Kept != nil {
		t.row("kept", fmt.Sprintf("the log extends the kept checkpoint of %s events", count(r.Kept.Size)))
	}
	if r.State != nil {
		t.state(r.State)
	}
	for i, index := range r.Restored {
		name := ""
		if i == 0 {
			name = "restored"
		}
		t.row(name, fmt.Sprintf("from a backup of %s events, at index %s", count(index), count(index)))
	}
	t.row("records", records(r))
	t.row("actors", count(uint64(r.Actors)))
	if r.Checkpoint.Size > 0 {
		t.row("from", r.First.String())
		t.row("to", r.Last.String())
	}
	for i, a := range r.Announcements {
		name := ""
		if i == 0 {
			name = "signing keys"
		}
		t.row(name, fmt.Sprintf("%s, from index %s", strings.Join(a.Keys, " "), count(a.Index)))
	}
	for i, kind := range slices.Sorted(maps.Keys(r.ByType)) {
		name := ""
		if i == 0 {
			name = "by type"
		}
		t.row(name, fmt.Sprintf("%-38s %10s", kind, count(r.ByType[kind])))
	}
	if kept != "" {
		t.row("checkpoint", "kept in "+kept)
	}
	t.row("time taken", duration(took))
	return "VERIFIED\n\n" + t.String()
}

// state says what was verified of the state log.
func (t *table) state(s *audit.StateReport) {
	t.row("state log", fmt.Sprintf("%s leaves, each as the events make it", count(s.Compared)))
	if s.Beyond > 0 {
		t.row("", fmt.Sprintf("%s more for a newer log, left aside", count(s.Beyond)))
	}
	t.row("state root", s.Map.String())
	if s.Kept != nil {
		t.row("", fmt.Sprintf("the state log extends the kept checkpoint of %s leaves", count(s.Kept.Size)))
	}
}

func records(r *audit.Report) string {
	text := fmt.Sprintf("%s, %s of them destroyed", count(uint64(r.Records)), count(uint64(r.Destroyed)))
	if r.Destroying > 0 {
		text += fmt.Sprintf(", %s being destroyed", count(uint64(r.Destroying)))
	}
	return text
}

// falseReport lists the findings with their evidence.
func falseReport(r *audit.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "FOUND FALSE: %s", count(r.Total()))
	if r.Total() == 1 {
		b.WriteString(" finding\n")
	} else {
		b.WriteString(" findings\n")
	}
	for i, f := range r.Findings {
		if i == withWords {
			break
		}
		fmt.Fprintf(&b, "\n%d. %s\n", i+1, heading(f))
		b.WriteString(wrap(f.Why, 3))
		if i < withEvidence {
			for _, e := range f.Evidence {
				fmt.Fprintf(&b, "   %s:\n%s", e.Name, quote(e.Text))
			}
		}
	}
	if r.Total() > uint64(min(len(r.Findings), withEvidence)) {
		b.WriteString("\nAll findings by kind:\n")
		for _, what := range slices.Sorted(maps.Keys(r.Counts)) {
			fmt.Fprintf(&b, "   %-24s %12s\n", what, count(r.Counts[what]))
		}
	}
	if r.Signed != nil {
		fmt.Fprintf(&b, "\nChecked %s of the %s events that the checkpoint promises.\n", count(r.Checked), count(r.Checkpoint.Size))
	}
	return b.String()
}

func heading(f audit.Finding) string {
	text := string(f.What)
	switch {
	case f.Located && f.OfState():
		text += " at leaf " + count(f.Index) + " of the state log"
	case f.Located:
		text += " at index " + count(f.Index)
	}
	if !f.Event.IsZero() {
		text += "\n" + strings.TrimSuffix(wrap(fmt.Sprintf("event %s, %s", f.Event, f.Type), 3), "\n")
	}
	return text
}

// quote sets evidence apart. Lines that are too long continue behind four more
// spaces; what cannot be printed is escaped, since it comes from a log that lies.
func quote(text string) string {
	const width = columns - 10
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		left := []rune(printable(line))
		indent := "      "
		for len(left) > width {
			b.WriteString(indent + string(left[:width]) + "\n")
			left, indent = left[width:], "          "
		}
		b.WriteString(strings.TrimRight(indent+string(left), " ") + "\n")
	}
	return b.String()
}

// wrap breaks text into lines of at most 80 columns, each indented, and ends it
// with a newline. A word that is longer than a line is cut.
func wrap(text string, indent int) string {
	var b strings.Builder
	width := columns - indent
	line := ""
	flush := func() {
		b.WriteString(strings.TrimRight(strings.Repeat(" ", indent)+line, " ") + "\n")
		line = ""
	}
	for i, word := range strings.Split(printable(strings.ReplaceAll(text, "\n", " ")), " ") {
		if i > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			flush()
		} else if i > 0 {
			line += " "
		}
		line += word
		for runes := []rune(line); len(runes) > width; runes = []rune(line) {
			rest := string(runes[width:])
			line = string(runes[:width])
			flush()
			line = rest
		}
	}
	flush()
	return b.String()
}

// printable escapes what could move a terminal's cursor or hide text.
func printable(s string) string {
	quoted := strconv.QuoteToGraphic(s)
	if quoted[1:len(quoted)-1] == s {
		return s
	}
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// count writes a number with commas between the thousands.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func duration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// progress shows how far an audit is, once it takes over a second, on one line
// that is rewritten.
type progress struct {
	out   io.Writer
	now   func() time.Time
	start time.Time
	last  time.Time
	quiet bool // nothing is to be shown
	drawn bool
}

func (p *progress) show(done, total uint64) {
	now := p.now()
	if p.quiet || now.Sub(p.start) < time.Second || now.Sub(p.last) < 200*time.Millisecond {
		return
	}
	p.last, p.drawn = now, true
	rate := float64(done) / now.Sub(p.start).Seconds()
	fmt.Fprintf(p.out, "\r\x1b[K%s of %s events checked, %s a second", count(done), count(total), count(uint64(rate)))
}

// clear removes the line.
func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	p.quiet = true
}
