package disk

import "time"

// Pace keeps work in the background from taking a core for long: a burst of a
// quarter of a second every few seconds shows in nothing but the slowest one in a
// hundred of the calls that are waited for. It is for one goroutine.
type Pace struct {
	// Hurry reports whether somebody waits for the work; it then does not rest.
	// Nil means never.
	Hurry func() bool

	resumed time.Time
}

// Begin says that the work goes on after something that was not work, such as
// waiting for somebody.
func (p *Pace) Begin() { p.resumed = time.Now() }

// Rest sleeps as long as the work took since the last Begin or Rest, and at most 5 ms:
// work in steps shorter than that takes half a core at most. A nil Pace does not rest.
func (p *Pace) Rest() {
	if p == nil || p.Hurry != nil && p.Hurry() {
		return
	}
	if !p.resumed.IsZero() {
		time.Sleep(min(time.Since(p.resumed), 5*time.Millisecond))
	}
	p.resumed = time.Now()
}
