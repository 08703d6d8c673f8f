package ledger_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/receipt"
	stateformat "github.com/medledger/medledger/verifier/state"
)

// otherwise signs, with a key of the clinic's, another log of the size of a checkpoint.
func (c *clinic) otherwise(key string, at proof.Checkpoint) []byte {
	c.t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.config.SecretsFolder(), key))
	if err != nil {
		c.t.Fatal(err)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(raw)))
	if err != nil {
		c.t.Fatal(err)
	}
	at.Root = proof.LeafHash([]byte("another"))
	signed, err := proof.SignCheckpoint(at, signer)
	if err != nil {
		c.t.Fatal(err)
	}
	return signed
}

// known are the checkpoints that somebody may have of a clinic when a backup is restored.
type known struct{ older, backedUp, newer, newerState, otherLog, otherState []byte }

// backedUp takes a backup and goes on.
func (c *clinic) backedUp(b *sides) (k known) {
	k.older = c.both()
	c.record("content")
	c.backUp(b)
	log, states := c.Log().Published(), c.StateLog().Published()
	k.backedUp = c.both()
	k.otherLog = slices.Concat(c.otherwise("log.key", log.Checkpoint), states.Note)
	k.otherState = slices.Concat(log.Note, c.otherwise("state.key", states.Checkpoint))
	c.record("not backed up")
	k.newer = c.both()
	k.newerState = slices.Concat(log.Note, c.StateLog().Published().Note)
	return k
}

// TestRestoreBesideSecrets restores beside secrets that have survived, and what was kept
// with them of both logs.
func TestRestoreBesideSecrets(t *testing.T) {
	c, b := newClinic(t), newSides(t)
	k := c.backedUp(b)
	c.close()
	word, lose := ledger.Restoration{NothingNewer: true}, ledger.Restoration{NothingNewer: true, LoseEvents: true}
	for name, test := range map[string]struct {
		file []byte
		r    ledger.Restoration
		want error
	}{
		"nothing was kept":                      {nil, word, nil},
		"what is older":                         {k.older, word, nil},
		"what is as old":                        {k.backedUp, word, nil},
		"as old, and events may be lost":        {k.backedUp, lose, nil},
		"what is newer":                         {k.newer, word, ledger.ErrWouldFork},
		"what is newer, and events may be lost": {k.newer, lose, nil},
		"a newer state log":                     {k.newerState, word, ledger.ErrWouldFork},
		"another log":                           {k.otherLog, word, ledger.ErrWouldFork},
		"another log, and events may be lost":   {k.otherLog, lose, ledger.ErrWouldFork},
		"another state log":                     {k.otherState, word, ledger.ErrWouldFork},
		"something damaged":                     {k.newer[1:], word, ledger.ErrKept},
	} {
		t.Run(name, func(t *testing.T) {
			config := c.config
			config.Dir, config.Secrets = filepath.Join(t.TempDir(), "elsewhere"), copied(t, c.config.SecretsFolder())
			forgetKept(t, config)
			if test.file != nil {
				if err := os.WriteFile(keptIn(config), test.file, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // a refused one is refused again
				_, err := ledger.Restore(t.Context(), config, b.from(test.r))
				if !errors.Is(err, test.want) {
					t.Fatalf("restored: %v, want %v", err, test.want)
				}
				if err == nil {
					break
				}
				if raw, err := os.ReadFile(keptIn(config)); err != nil || !bytes.Equal(raw, test.file) {
					t.Errorf("a refused restoration left %q of it, %v", raw, err)
				}
			}
			if test.want != nil {
				return
			}
			l, err := ledger.Open(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			both := slices.Concat(l.Log().Published().Note, l.StateLog().Published().Note)
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if raw, err := os.ReadFile(keptIn(config)); err != nil || !bytes.Equal(raw, both) {
				t.Errorf("the restored ledger has kept %q, %v", raw, err)
			}
		})
	}
	c.reopen()
}

// TestRestoreToGiven restores with checkpoints of both logs, in all forms that people have.
func TestRestoreToGiven(t *testing.T) {
	c, b := newClinic(t), newSides(t)
	record := c.record("content")
	k := c.backedUp(b)
	text, newer := c.receiptText(), c.bundleText(c.auditor, record)
	for name, test := range map[string]struct {
		file []byte
		want error
	}{
		"of both logs":       {k.backedUp, nil},
		"older ones":         {k.older, nil},
		"newer ones":         {k.newer, ledger.ErrWouldFork},
		"a newer state log":  {k.newerState, ledger.ErrWouldFork},
		"another log":        {k.otherLog, ledger.ErrWouldFork},
		"another state log":  {k.otherState, ledger.ErrWouldFork},
		"a newer receipt":    {text, ledger.ErrWouldFork},
		"a newer bundle":     {newer, ledger.ErrWouldFork},
		"a cut receipt":      {text[:len(text)-9], errAny},
		"the state log only": {c.StateLog().Published().Note, errAny},
	} {
		c.refusedOrNot(name, b, ledger.Restoration{Kept: test.file, NothingNewer: true, LoseEvents: true}, test.want)
	}
	c.backUp(b)
	for name, file := range map[string][]byte{"a receipt": text, "a bundle": newer} {
		c.refusedOrNot(name, b, ledger.Restoration{Kept: file, NothingNewer: true}, nil)
	}
}

// receiptText is a receipt as the service answers it.
func (c *clinic) receiptText() []byte {
	c.t.Helper()
	r := c.must(c.Originate(c.t.Context(), c.doctor, c.origination(), strings.NewReader("x")))
	proved, err := r.Receipt(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := receipt.Marshal(proved)
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

// bundleText is the bundle of a record as the service answers it.
func (c *clinic) bundleText(who ledger.Command, record events.ID) []byte {
	c.t.Helper()
	p, err := c.Completeness(c.t.Context(), who, record)
	if err != nil {
		c.t.Fatal(err)
	}
	defer p.Close()
	var b bytes.Buffer
	if err := p.Write(c.t.Context(), &b); err != nil {
		c.t.Fatal(err)
	}
	return b.Bytes()
}

// TestRebuildToGiven rebuilds with checkpoints of both logs.
func TestRebuildToGiven(t *testing.T) {
	c, b := newClinic(t), newSides(t)
	k := c.backedUp(b)
	c.close()
	log, _, _ := bytes.Cut(k.newer, []byte(stateformat.Origin(origin)+"\n"))
	for name, test := range map[string]struct {
		file []byte
		want error
	}{
		"of both logs":      {k.newer, nil},
		"of the log":        {log, nil},
		"older ones":        {k.older, nil},
		"another log":       {k.otherLog, ledger.ErrOlder},
		"another state log": {k.otherState, ledger.ErrOlder},
		"nonsense":          {[]byte("x"), errAny},
	} {
		_, err := ledger.Rebuild(t.Context(), c.config, test.file)
		if !errors.Is(err, test.want) && !(test.want == errAny && err != nil) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	c.reopen()
}
