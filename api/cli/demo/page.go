package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// The columns of a page:
//
//	  ✓ what was done, or tried               what came of it  1.2 ms
//	0 2 4                                                   72      80
const (
	width      = 80
	margin     = 4
	outcomeEnd = 72
)

const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	green = "\x1b[32m"
	red   = "\x1b[31m"
	plain = "\x1b[0m"
)

// page sets a story in lines of 80 columns.
type page struct {
	out    io.Writer
	colour bool
	now    func() time.Time
	begun  time.Time // the page
	last   time.Time // the end of the line before
	scenes int
	unmet  int   // expectations
	err    error // the first one of out; nothing is written after it
}

func newPage(out io.Writer, colour bool, now func() time.Time) *page {
	return &page{out: out, colour: colour, now: now, begun: now(), last: now()}
}

// line writes a line, whose text is dyed as a whole.
func (p *page) line(dye, text string) {
	if p.err != nil {
		return
	}
	if p.colour && dye != "" && text != "" {
		text = dye + text + plain
	}
	_, p.err = io.WriteString(p.out, text+"\n")
}

// scene begins a part of the story.
func (p *page) scene(format string, args ...any) {
	p.scenes++
	p.line("", "")
	p.line(bold, fmt.Sprintf("%2d. ", p.scenes)+fmt.Sprintf(format, args...))
	p.last = p.now()
}

// say sets a paragraph.
func (p *page) say(format string, args ...any) {
	for _, l := range wrap(fmt.Sprintf(format, args...), width-margin) {
		p.line("", strings.Repeat(" ", margin)+l)
	}
}

// quote sets what another program printed, indented: at most so many lines of
// it, wrapped where they are too long.
func (p *page) quote(text string, most int) {
	const indent = "    | "
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > most {
		lines = append(lines[:most:most], "…")
	}
	for _, l := range lines {
		for i, row := range wrap(l, width-len(indent)-2) {
			if i > 0 {
				row = "  " + row
			}
			p.line(dim, strings.TrimRight(indent+row, " "))
		}
	}
}

// command sets a command line, on several lines if it must be. It can be pasted
// into a shell.
func (p *page) command(words ...string) {
	rows := []string{"$ " + words[0]}
	for _, w := range words[1:] {
		row := rows[len(rows)-1]
		if columns(row)+1+columns(w) > width-margin-2 {
			rows[len(rows)-1] = row + ` \`
			rows = append(rows, "    "+w)
			continue
		}
		rows[len(rows)-1] = row + " " + w
	}
	for _, row := range rows {
		p.line(bold, strings.Repeat(" ", margin)+row)
	}
}

// done tells what was done and what came of it, with the time since the line
// before.
func (p *page) done(what, outcome string) { p.act("✓", green, what, outcome) }

// expect tells what was done and what came of it, and if that is not what must
// come of it, both.
func (p *page) expect(what, want, got string) {
	if got == want {
		p.done(what, got)
		return
	}
	p.unmet++
	p.act("✗", red, what, "NOT AS IT MUST BE")
	for _, l := range append(wrap("expected: "+want, width-2*margin), wrap("happened: "+got, width-2*margin)...) {
		p.line(red, strings.Repeat(" ", 2*margin)+l)
	}
}

func (p *page) act(mark, dye, what, outcome string) {
	now := p.now()
	took := duration(now.Sub(p.last))
	p.last = now
	rows := wrap(what, outcomeEnd-margin)
	if last := rows[len(rows)-1]; columns(last)+2+columns(outcome) > outcomeEnd-margin {
		rows = append(rows, "")
	}
	end := len(rows) - 1
	gap := max(outcomeEnd-margin-columns(rows[end])-columns(outcome), 0)
	rows[end] += strings.Repeat(" ", gap) + outcome
	rows[end] += fmt.Sprintf("%*s", max(width-margin-columns(rows[end]), 0), took)
	for i, row := range rows {
		if i > 0 {
			mark = " "
		} else if p.colour {
			mark = dye + mark + plain
		}
		p.line("", "  "+mark+" "+row)
	}
}

// duration sets a time in three digits and a unit.
func duration(d time.Duration) string {
	switch {
	case d < 9950*time.Microsecond:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// wrap breaks a text into rows of at most n columns, between words where it can.
// Spaces within a row stay as they are. It returns one row at least.
func wrap(text string, n int) []string {
	var rows []string
	row := []rune(text)
	for len(row) > n {
		cut, skip := n, 0
		for i := n; i > 0; i-- {
			if row[i] == ' ' {
				cut, skip = i, 1
				break
			}
		}
		rows = append(rows, strings.TrimRight(string(row[:cut]), " "))
		row = row[cut+skip:]
	}
	return append(rows, string(row))
}

func columns(s string) int { return utf8.RuneCountInString(s) }
