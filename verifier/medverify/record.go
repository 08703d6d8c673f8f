package medverify

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/kept"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// record is 'medverify record'.
func (r *run) record(args []string) (int, error) {
	set := flag.NewFlagSet("record", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	vkey := set.String("vkey", "", "")
	checkpoint := set.String("checkpoint", "", "")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return r.print(recordUsage)
		}
		return CouldNotCheck, fmt.Errorf("%w; %w", err, errUsage)
	}
	if set.NArg() != 1 {
		return CouldNotCheck, fmt.Errorf("name one bundle; %w", errUsage)
	}
	v, err := verifier(*vkey)
	if err != nil {
		return CouldNotCheck, err
	}
	told := &telling{byType: make(map[events.Type]uint64)}
	if *checkpoint != "" {
		if told.kept, err = readKept(*checkpoint, v.Name()); err != nil {
			return CouldNotCheck, err
		}
	}
	bundle, err := openBundle(set.Arg(0))
	if err != nil {
		return CouldNotCheck, fmt.Errorf("reading the bundle: %w", err)
	}
	defer bundle.Close() // opened for reading: nothing is lost
	reader := &failing{Reader: bundle}
	verified, err := history.Verify(reader, v, told.add)
	if reader.err != nil {
		return CouldNotCheck, fmt.Errorf("reading the bundle: %w", reader.err)
	}
	if err != nil {
		return r.falseHistory("the history does not verify: "+err.Error(), "")
	}
	if verified.Leaf.Size != verified.Checkpoint.Size {
		// A ledger answers with both of one moment: who shows an older state beside a newer
		// checkpoint leaves out what came in between, such as a destruction.
		why := fmt.Sprintf("the history ends with event %s of the log, its checkpoint covers %s: what came in between is left out. Ask for a newer one. What is shown of it:",
			count(verified.Leaf.Size), count(verified.Checkpoint.Size))
		return r.falseHistory(why, told.table(verified))
	}
	if s := verified.Summary; s != nil && s.Violations > 0 {
		why := fmt.Sprintf("of the events after the end of the record's life, %s must not be there. The history itself is complete:", count(s.Violations))
		return r.falseHistory(why, told.table(verified))
	}
	why, err := told.compare(verified, v)
	if err != nil {
		return CouldNotCheck, fmt.Errorf("%s: %w; give something of this log, such as what 'medverify audit --keep' wrote, a receipt or a history, and its --vkey", *checkpoint, err)
	}
	if why != "" {
		return r.falseHistory(why, told.table(verified))
	}
	return r.print(goodHistory(verified, told))
}

func openBundle(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(name, "-") {
		return nil, fmt.Errorf("%w; options come before the bundle", err)
	}
	return f, err
}

// failing remembers why reading failed: what could not be read is not false.
type failing struct {
	io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

func (r *run) falseHistory(why, table string) (int, error) {
	text := "FOUND FALSE\n\n" + wrap(why, 2)
	if table != "" {
		text += "\n" + table
	}
	if _, err := io.WriteString(r.stdout, text); err != nil {
		return FoundFalse, fmt.Errorf("writing the result: %w", err)
	}
	return FoundFalse, nil
}

// telling is what is told of a record's events.
type telling struct {
	first, last events.Timestamp
	destroyed   events.Timestamp // zero if it was not
	after       uint64           // events that followed
	byType      map[events.Type]uint64
	kept        kept.Checkpoints
	compared    []string // of the kept checkpoints with those of the history
}

// compare holds the history to the kept checkpoints, as far as that can be done without
// the log, and returns why it is false.
func (t *telling) compare(v *history.Verified, key note.Verifier) (why string, _ error) {
	for _, log := range []struct {
		signed  []byte
		key     note.Verifier
		now     proof.Checkpoint
		of, has string
	}{
		{t.kept.Log, key, v.Checkpoint, "checkpoint", "events"},
		{t.kept.State, v.StateVerifier, v.StateCheckpoint, "checkpoint of the state log", "leaves"},
	} {
		if log.signed == nil {
			continue
		}
		then, err := proof.VerifyCheckpoint(log.signed, log.key)
		if err != nil {
			return "", fmt.Errorf("the kept %s is not one that its key signed: %w", log.of, err)
		}
		switch kept, now := count(then.Size), count(log.now.Size); {
		case then.Size > log.now.Size:
			return fmt.Sprintf("the history is older than what you have: its %s is of %s %s, the one that you kept of %s. What came in between is left out. Ask for a newer one. What is shown of it:",
				log.of, now, log.has, kept), nil
		case then.Size == log.now.Size && then.Root != log.now.Root:
			return fmt.Sprintf("the ledger has signed two histories: its %s of %s %s has root %s here, and root %s in the one that you kept. Keep both files, they are the evidence. What is shown of this one:",
				log.of, now, log.has, log.now.Root, then.Root), nil
		case then.Size == log.now.Size:
			t.compared = append(t.compared, fmt.Sprintf("the %s is the one that you kept", log.of))
		default:
			t.compared = append(t.compared, fmt.Sprintf("the %s is newer than the one that you kept, of %s %s; that it extends it is not shown here, but by 'medverify audit --checkpoint'", log.of, kept, log.has))
		}
	}
	return "", nil
}

func (t *telling) add(_ uint64, e events.Event) error {
	if t.first == 0 {
		t.first = e.Time
	}
	t.last = e.Time
	t.byType[e.Type]++
	switch {
	case t.destroyed != 0:
		t.after++
	case state.EffectOf(e) == state.Destroys:
		t.destroyed = e.Time
	}
	return nil
}

func goodHistory(v *history.Verified, told *telling) string {
	title := "VERIFIED: this is the record's complete history"
	if v.Summary == nil {
		title = "VERIFIED: the ledger has no such record"
	}
	return title + ".\n\n" + told.table(v)
}

func (t *telling) table(v *history.Verified) string {
	var b table
	b.row("origin", v.Checkpoint.Origin)
	b.row("record", v.Record.String())
	if s := v.Summary; s != nil {
		b.row("events", count(s.Events)+", none left out")
		b.row("from", t.first.String())
		b.row("to", t.last.String())
		b.row("phase", phase(s, t))
		for i, kind := range slices.Sorted(maps.Keys(t.byType)) {
			name := ""
			if i == 0 {
				name = "by type"
			}
			b.row(name, fmt.Sprintf("%-38s %10s", kind, count(t.byType[kind])))
		}
	}
	b.row("as of", fmt.Sprintf("the first %s events of the log", count(v.Leaf.Size)))
	b.row("checkpoint", fmt.Sprintf("of %s events, root %s", count(v.Checkpoint.Size), v.Checkpoint.Root))
	b.row("state log", fmt.Sprintf("of %s leaves, root %s", count(v.StateCheckpoint.Size), v.StateCheckpoint.Root))
	for i, text := range t.compared {
		name := ""
		if i == 0 {
			name = "kept"
		}
		b.row(name, text)
	}
	return b.String()
}

// phase says where the record is in its life.
func phase(s *state.Summary, t *telling) string {
	switch {
	case s.Phase == state.Destroying:
		return "its destruction has started and is not complete"
	case s.Phase != state.Destroyed:
		return s.Phase.String()
	case s.Violations > 0:
		return fmt.Sprintf("destroyed since %s; %s events followed, of which %s must not", t.destroyed, count(t.after), count(s.Violations))
	case t.after > 0:
		return fmt.Sprintf("destroyed since %s; nothing followed that may not, and %s that may: refusals, or readings of this history", t.destroyed, count(t.after))
	}
	return fmt.Sprintf("destroyed since %s; nothing followed", t.destroyed)
}
