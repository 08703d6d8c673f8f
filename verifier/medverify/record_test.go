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
		"of the events after the end of the record's life, 1 may not be.", "destroyed since 2026-03-01T08:00:23.000000Z; 2 events followed, 1 of them may not")
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
