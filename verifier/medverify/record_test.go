package medverify_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/medverify"
	"github.com/medledger/medledger/verifier/receipt"
)

// save writes the bundle of a record as of the log's first size events.
func (s *service) save(t *testing.T, record events.ID, leaf int) string {
	shown := audittest.Shown{Seen: s.Seen(), Sizes: audittest.Sizes, Leaf: leaf, Size: len(s.Events)}
	return write(t, filepath.Join(t.TempDir(), "bundle.jsonl"), s.Bundle(record, shown).Write())
}

const goldenRecord = `VERIFIED: this is the record's complete history.

  origin        clinic.example/ledger
  record        RECORD
  events        9, none left out
  from          2026-03-01T08:00:10.000000Z
  to            2026-03-01T08:00:24.000000Z
  phase         destroyed since 2026-03-01T08:00:23.000000Z; nothing followed
                that may not, and 1 that may: refusals, or readings of this
                history
  by type       medledger.access.refused.v1                     1
                medledger.destruction.requested.v1              1
                medledger.destruction.started.v1                1
                medledger.record.accessed.v1                    1
                medledger.record.amended.v1                     1
                medledger.record.destroyed.v1                   1
                medledger.record.disclosed.v1                   1
                medledger.record.originated.v1                  1
                medledger.record.received.v1                    1
  as of         the first 26 events of the log
  checkpoint    of 26 events, root ROOT
`

func TestRecord(t *testing.T) {
	s := newService(t)
	destroyed, alive := s.Events[9].Subject, s.Events[10].Subject
	o := run(t, still(), "record", "--vkey", s.vkey, s.save(t, destroyed, 11))
	want := strings.NewReplacer("RECORD", destroyed.String(), "ROOT", s.honest()[11].Root.String()).Replace(goldenRecord)
	if o.status != medverify.Verified || !strings.HasPrefix(o.out, want) || o.errout != "" {
		t.Errorf("status %d, prints\n%s%s\nwant\n%s", o.status, o.out, o.errout, want)
	}
	run(t, still(), "record", "--vkey", s.vkey, s.save(t, destroyed, 9)).want(t, medverify.FoundFalse,
		"the history ends with event 23 of the log, its checkpoint covers 26", "destroyed since 2026-03-01T08:00:23.000000Z; nothing followed by type")
	run(t, still(), "record", "--vkey", s.vkey, s.save(t, destroyed, 8)).want(t, medverify.FoundFalse,
		"phase its destruction has started and is not complete")
	run(t, still(), "record", "--vkey", s.vkey, s.save(t, alive, 11)).want(t, medverify.Verified,
		"record "+alive.String(), "events 7, none left out", "phase active", "state log of 12 leaves, root ")
	nobody := s.ID()
	o = run(t, still(), "record", "--vkey", s.vkey, s.save(t, nobody, 11))
	o.want(t, medverify.Verified, "VERIFIED: the ledger has no such record.", "record "+nobody.String(), "as of the first 26 events")
	if strings.Contains(o.out, "phase") || strings.Contains(o.out, "complete history") {
		t.Errorf("a record that is not there is told of:\n%s", o.out)
	}
}

func TestRecordFoundFalse(t *testing.T) {
	s := newService(t)
	file := s.save(t, s.Events[9].Subject, 11)
	good := read(t, file)
	lines := bytes.SplitAfter(good, []byte("\n"))
	for name, text := range map[string][]byte{
		"an event left out": bytes.Join(append(append([][]byte{}, lines[:6]...), lines[7:]...), nil),
		"cut":               good[:len(good)-1],
		"empty":             nil,
		"no bundle":         []byte(s.VKey),
		"another record":    bytes.Replace(good, []byte(s.Events[9].Subject.String()), []byte(s.Events[10].Subject.String()), 1),
	} {
		o := run(t, still(), "record", "--vkey", s.vkey, write(t, file, text))
		o.want(t, medverify.FoundFalse, "FOUND FALSE", "the history does not verify: ")
		if strings.Contains(o.out, "VERIFIED") {
			t.Errorf("%s: %s", name, o.out)
		}
	}
	other := write(t, filepath.Join(s.folder, "other.vkey"), []byte(audittest.New("other").VKey))
	run(t, still(), "record", "--vkey", other, write(t, file, good)).want(t, medverify.FoundFalse, "the history does not verify")
}

// TestRecordFromStdin reads a bundle as it comes over a pipe.
func TestRecordFromStdin(t *testing.T) {
	s := newService(t)
	file, err := os.Open(s.save(t, s.Events[10].Subject, 11))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stdin := os.Stdin
	defer func() { os.Stdin = stdin }()
	os.Stdin = file
	run(t, still(), "record", "--vkey", s.vkey, "-").want(t, medverify.Verified, "events 7, none left out")
}

// TestRecordLivedOn tells of a record that was read after its destruction: the history
// is what it is, and is false.
func TestRecordLivedOn(t *testing.T) {
	s := newService(t)
	record := s.Events[9].Subject
	s.Access(record)
	file := write(t, filepath.Join(s.folder, "bundle"), s.Bundle(record, s.Shown()).Write())
	run(t, still(), "record", "--vkey", s.vkey, file).want(t, medverify.FoundFalse, "FOUND FALSE",
		"of the events after the end of the record's life, 1 must not be there.", "destroyed since 2026-03-01T08:00:23.000000Z; 2 events followed, of which 1 must not")
}

func TestRecordCouldNotCheck(t *testing.T) {
	s := newService(t)
	file := s.save(t, s.Events[9].Subject, 11)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no bundle":           {[]string{"--vkey", s.vkey}, "name one bundle"},
		"two bundles":         {[]string{"--vkey", s.vkey, file, file}, "name one bundle"},
		"bundle is not there": {[]string{"--vkey", s.vkey, "/nowhere"}, "no such file"},
		"bundle is a folder":  {[]string{"--vkey", s.vkey, s.folder}, "is a directory"},
		"options last":        {[]string{"--vkey", s.vkey, "--", "-vkey"}, "options come before the bundle"},
		"unknown flag":        {[]string{"--key", s.vkey, file}, "not defined"},
		"no key":              {[]string{file}, "--vkey is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, still(), append([]string{"record"}, c.args...)...).want(t, medverify.CouldNotCheck, c.want)
		})
	}
}

// TestRecordKept holds a history to a checkpoint that was kept.
func TestRecordKept(t *testing.T) {
	s := newService(t)
	record, leaves := s.Events[9].Subject, s.honest()
	file := s.save(t, record, 11)
	bundle := read(t, file)
	kept := func(name string, notes ...[]byte) string {
		return write(t, filepath.Join(s.folder, name), bytes.Join(notes, nil))
	}
	older, olderState := audittest.Serve(s.Statements[:13], s.LogSigner)["checkpoint"], s.ServeState(leaves[:5])["checkpoint"]
	same, sameState := s.Serve()["checkpoint"], s.ServeState(leaves)["checkpoint"]
	newer := audittest.Serve(append(s.Statements[:26:26], s.Statements[3]), s.LogSigner)["checkpoint"]
	newerState := s.ServeState(append(leaves[:len(leaves):len(leaves)], leaves[0]))["checkpoint"]
	other := audittest.Serve(append(s.Statements[:25:25], s.Statements[3]), s.LogSigner)["checkpoint"]
	otherState := s.ServeState(append(leaves[:len(leaves)-1:len(leaves)-1], leaves[0]))["checkpoint"]
	foreign := audittest.New("another")
	foreign.StateStory()
	for name, test := range map[string]struct {
		file   string
		status int
		want   []string
	}{
		"the same": {kept("same", same, sameState), medverify.Verified, []string{
			"VERIFIED", "kept the checkpoint is the one that you kept the checkpoint of the state log is the one that you kept"}},
		"the log's alone": {kept("log", same), medverify.Verified, []string{"VERIFIED", "kept the checkpoint is the one that you kept"}},
		"this very history": {file, medverify.Verified, []string{
			"kept the checkpoint is the one that you kept the checkpoint of the state log is the one that you kept"}},
		"older": {kept("older", older, olderState), medverify.Verified, []string{
			"VERIFIED", "kept the checkpoint is newer than the one that you kept, of 13 events; that it extends it is not shown here, but by 'medverify audit --checkpoint'",
			"the checkpoint of the state log is newer than the one that you kept, of 5 leaves"}},
		"newer": {kept("newer", newer), medverify.FoundFalse, []string{
			"FOUND FALSE", "the history is older than what you have: its checkpoint is of 26 events, the one that you kept of 27.", "record " + record.String()}},
		"newer, of the state log": {kept("newer-state", same, newerState), medverify.FoundFalse, []string{
			"its checkpoint of the state log is of 12 leaves, the one that you kept of 13."}},
		"another": {kept("other", other), medverify.FoundFalse, []string{
			"FOUND FALSE", "the ledger has signed two histories: its checkpoint of 26 events has root " + leaves[11].Root.String()}},
		"another, of the state log": {kept("other-state", same, otherState), medverify.FoundFalse, []string{
			"the ledger has signed two histories: its checkpoint of the state log of 12 leaves"}},
		"of another ledger": {kept("foreign", foreign.Serve()["checkpoint"]), medverify.CouldNotCheck, []string{"is not one that its key signed"}},
		"of another state log": {kept("foreign-state", same, foreign.ServeState(foreign.HonestStates())["checkpoint"]), medverify.CouldNotCheck, []string{
			"the kept checkpoint of the state log is not one that its key signed"}},
		"none":      {kept("none"), medverify.CouldNotCheck, []string{"has no checkpoint of the log"}},
		"not there": {"/nowhere", medverify.CouldNotCheck, []string{"no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := run(t, still(), "record", "--vkey", s.vkey, "--checkpoint", test.file, write(t, file, bundle))
			o.want(t, test.status, test.want...)
			if test.status != medverify.Verified && strings.Contains(o.out, "VERIFIED") {
				t.Errorf("it prints %s", o.out)
			}
		})
	}
	// A receipt and a history are kept checkpoints to an audit too.
	dir := s.dir(t, s.ServeState(leaves), leaves)
	run(t, still(), "audit", "--vkey", s.vkey, "--dir", dir, "--checkpoint", file).want(t, medverify.Verified,
		"the log extends the kept checkpoint of 26 events", "the state log extends the kept checkpoint of 12 leaves")
	text, err := receipt.Marshal(prove(t, s.History, 17))
	if err != nil {
		t.Fatal(err)
	}
	run(t, still(), "audit", "--vkey", s.vkey, "--dir", dir, "--checkpoint", kept("receipt", text)).want(t, medverify.Verified,
		"the log extends the kept checkpoint of 26 events")
}
