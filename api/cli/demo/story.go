package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/vault"
)

// origin is the name of the demo's ledger.
const origin = "demo.medledger.example/clinic"

// story is what the scenes share.
type story struct {
	*page
	clock   *calendar
	dir     string // the ledger's folder
	scratch string // for what the story needs for itself
	kept    bool   // the folder is left
	bundled bool   // the documents are the demo's own
	docs    []document
	attacks []attack

	ledger   *ledger.Ledger
	verifier note.Verifier
	cast     cast
	records  []*record // of docs, in their order; the first is the one that the story is about
	early    signed    // a checkpoint that the attacker put aside
	end      signed    // the last one
	final    uint64    // the index of the event that ended the first record
}

// newStory prepares a story that is set on a page. The ledger is made in dir;
// scratch is for copies of it. Both belong to the caller.
func newStory(p *page, dir, scratch string, docs []document) *story {
	s := &story{page: p, clock: newCalendar(p.now), dir: dir, scratch: scratch, docs: docs}
	s.attacks = s.ways()
	return s
}

// record is a document that lives in the ledger.
type record struct {
	document
	id, patient, share events.ID
	destroyed          bool
}

// signed is a signed checkpoint and its size.
type signed struct {
	note []byte
	size uint64
}

// calendar is the ledger's clock: the time of day, three weeks ago.
type calendar struct {
	now func() time.Time

	mu     sync.Mutex
	offset time.Duration
}

const threeWeeks = 21 * 24 * time.Hour

func newCalendar(now func() time.Time) *calendar {
	return &calendar{now: now, offset: -threeWeeks}
}

// Now is a clock for a ledger.
func (c *calendar) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now().Add(c.offset)
}

// pass lets days go by, to today at most.
func (c *calendar) pass(days int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = min(c.offset+time.Duration(days)*24*time.Hour, 0)
}

// tell tells the whole story. It returns ErrUnmet if an expectation was not met.
func (s *story) tell(ctx context.Context) (err error) {
	s.title()
	if err := s.open(ctx); err != nil {
		return err
	}
	open := true
	defer func() {
		if open {
			err = errors.Join(err, s.ledger.Close())
		}
	}()
	for _, scene := range []func(context.Context) error{
		s.create, s.read, s.amend, s.share, s.rotate, s.destroy, s.hand,
	} {
		if err := errors.Join(scene(ctx), ctx.Err()); err != nil {
			return err
		}
	}
	open = false
	if err := s.ledger.Close(); err != nil {
		return fmt.Errorf("closing the ledger: %w", err)
	}
	for _, scene := range []func(context.Context) error{s.look, s.audit, s.tamper} {
		if err := errors.Join(scene(ctx), ctx.Err()); err != nil {
			return err
		}
	}
	s.close()
	if s.page.err != nil {
		return fmt.Errorf("writing the story: %w", s.page.err)
	}
	if s.unmet > 0 {
		return ErrUnmet
	}
	return nil
}

func (s *story) title() {
	input := fmt.Sprintf("%d invented documents", len(s.docs))
	if !s.bundled {
		input = fmt.Sprintf("%d documents of --records", len(s.docs))
	}
	s.line(bold, "medledger: the lives of "+input+", and an auditor")
	s.line("", "")
	s.say("What follows happens now, in this process and on this disk; only the calendar is made up. A ✓ marks what was checked, and the right margin says how long it took.")
	s.line("", "")
	s.line(bold, "    D="+quoted(s.dir))
}

// close says what it all came to.
func (s *story) close() {
	s.scene("What was proved, and what was not")
	s.say("Proved: without the log's private key nobody can change, drop, insert, move or reorder one event unseen by those who hold its public key and a checkpoint that they kept.")
	s.say("Not proved: that all that happened was entered; that whoever holds the log's private key shows the same history to everybody (comparing kept checkpoints tells).")
	s.say("Not undone: a photograph of a screen, a copy that a recipient kept, an image of the key's disk taken before a destruction.")
	s.line("", "")
	verdict, dye := "Everything was as it must be.", green
	if s.unmet > 0 {
		verdict, dye = fmt.Sprintf("NOT AS IT MUST BE: %d lines, marked ✗.", s.unmet), red
	}
	s.line(bold+dye, fmt.Sprintf("    %s %d events, %s in all.", verdict, s.end.size, duration(s.now().Sub(s.begun))))
	s.line("", "")
	if !s.kept {
		s.say("To keep the folder and try medverify on it: medledger demo --dir D")
		return
	}
	s.say("Try it yourself; medverify is what 'go build ./verifier/cmd/medverify' makes, and receipts of every kind lie in $D/demo/receipts:")
	s.line("", "")
	s.line(bold, "    D="+quoted(s.dir))
	for _, args := range s.commands() {
		s.command(append([]string{"medverify"}, s.shown(args)...)...)
	}
}

// quoted writes a path for a shell.
func quoted(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// outcome puts what came of a command into words.
func outcome(err error, done string) string {
	var refused *ledger.RefusedError
	switch {
	case err == nil:
		return done
	case errors.As(err, &refused):
		return "refused: " + refused.Reason
	case errors.Is(err, ledger.ErrUnknownActor):
		return "no such actor"
	case errors.Is(err, ledger.ErrKeyReused):
		return "refused: key was used before"
	case errors.Is(err, vault.ErrDestroyed):
		return "destroyed"
	}
	return "error: " + err.Error()
}

// released is what a release must come to.
const released = "released, bit for bit"

// compare reads what was released to its end and compares it with what it must be.
func compare(r *ledger.Release, err error, want func() ([]byte, error)) string {
	if err != nil {
		return outcome(err, "")
	}
	return compareContent(r.Content, want)
}

func compareContent(c *vault.Content, want func() ([]byte, error)) string {
	got, err := io.ReadAll(c.Reader)
	if err := errors.Join(err, c.Reader.Close()); err != nil {
		return outcome(err, "")
	}
	expected, err := want()
	if err != nil {
		return outcome(err, "")
	}
	if !bytes.Equal(got, expected) {
		return "released, but other bytes"
	}
	return released
}

// submitters is how many give commands at a time where the story tells of many
// records: a turn of the ledger takes them all.
const submitters = 16

// others is all records but the one that the story is about, and that are not
// destroyed.
func (s *story) others() []*record {
	var list []*record
	for _, r := range s.records[1:] {
		if !r.destroyed {
			list = append(list, r)
		}
	}
	return list
}

// each does something to many records and expects the same of all. The line says
// how many a second.
func (s *story) each(records []*record, what, want string, do func(*record) string) {
	if len(records) == 0 {
		return
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	queue, outcomes := make(chan *record), make(map[string]int)
	begun := s.now()
	for range min(submitters, len(records)) {
		wg.Go(func() {
			for r := range queue {
				o := do(r)
				mu.Lock()
				outcomes[o]++
				mu.Unlock()
			}
		})
	}
	for _, r := range records {
		queue <- r
	}
	close(queue)
	wg.Wait()
	rate := float64(len(records)) / max(s.now().Sub(begun).Seconds(), 1e-6)
	s.expect(fmt.Sprintf("%s (%.0f/s)", what, rate), fmt.Sprintf("%d × %s", len(records), want), tally(outcomes))
}

func tally(outcomes map[string]int) string {
	var list []string
	for o, n := range outcomes {
		list = append(list, fmt.Sprintf("%d × %s", n, o))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// file is a file that the demo leaves beside the ledger.
func (s *story) file(elem ...string) string {
	return filepath.Join(append([]string{s.dir, "demo"}, elem...)...)
}

// open is the scene in which the ledger is made and its people are registered.
func (s *story) open(ctx context.Context) error {
	s.scene("A clinic opens its ledger")
	config := ledger.Config{Dir: s.dir, Clock: s.clock.Now, Logger: slog.New(slog.DiscardHandler)}
	founding, err := ledger.Create(ctx, config, origin)
	if err != nil {
		return fmt.Errorf("making the ledger: %w", err)
	}
	if s.ledger, err = ledger.Open(ctx, config); err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	s.verifier = s.ledger.VerifierKey()
	s.done("the ledger of "+origin, "open")
	if err := s.people(ctx, founding); err != nil {
		return errors.Join(err, s.ledger.Close())
	}
	s.done("registered: a doctor, a nurse, a clerk, a patient, an insurer outside, and a doctor of another clinic", "6 actors")
	return nil
}

// people registers the cast and makes the folder of what the demo leaves for its
// reader. Nothing there is needed to open the ledger, so it is not synced.
func (s *story) people(ctx context.Context, founding *ledger.Founding) error {
	if err := os.MkdirAll(s.file("receipts"), 0o755); err != nil {
		return fmt.Errorf("making the folder of receipts: %w", err)
	}
	return s.register(ctx, founding)
}
