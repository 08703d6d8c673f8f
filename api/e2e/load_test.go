package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/backup"
)

// acknowledged is a record whose creation was answered with success.
type acknowledged struct {
	content []byte
	version client.RecordVersion
}

// load is writers that store records, one after the other, until they are stopped
// or refused.
type load struct {
	h       *house
	patient events.ID
	size    int // of a content
	ending  atomic.Bool
	writers sync.WaitGroup

	mu       sync.Mutex
	good     []acknowledged
	refusals map[int]int // how many answers had which status
	broken   int         // connections
}

const writers = 16

// start starts a load. The caller ends it.
func (h *house) start(size int) *load {
	patient, err := h.patient(client.Identifier{System: "urn:example:load", Value: h.t.Name() + events.MustNewID().String()})
	if err != nil {
		h.t.Fatal(err)
	}
	l := &load{h: h, patient: patient, size: size, refusals: make(map[int]int)}
	for w := range writers {
		l.writers.Go(func() { l.write(w) })
	}
	return l
}

func (l *load) write(writer int) {
	for n := 0; !l.ending.Load() && l.h.t.Context().Err() == nil; n++ {
		line := fmt.Sprintf("content %d of writer %d\n", n, writer)
		content := bytes.Repeat([]byte(line), l.size/len(line)+1)
		version, err := l.h.doctor.CreateRecord(l.h.t.Context(), client.NewRecord{
			Patient: l.patient, Kind: events.KindChart, Confidentiality: events.Normal, ContentType: "text/plain",
		}, bytes.NewReader(content))
		l.mu.Lock()
		switch {
		case err == nil:
			l.good = append(l.good, acknowledged{content, *version})
		case statusOf(err) > 0:
			l.refusals[statusOf(err)]++
		default:
			l.broken++
		}
		l.mu.Unlock()
		if err != nil {
			time.Sleep(5 * time.Millisecond) // the server is stopping, or full
		}
	}
}

func statusOf(err error) int {
	for status := 400; status < 600; status++ {
		if is(err, status) {
			return status
		}
	}
	return 0
}

// soFar is how many records were acknowledged.
func (l *load) soFar() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.good)
}

// until waits until something holds, for a minute at most.
func (l *load) until(what string, holds func() bool) {
	l.h.t.Helper()
	for begun := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > time.Minute {
			l.h.t.Fatalf("a minute has passed, and not %s: %d acknowledged, refusals %v", what, l.soFar(), l.refusals)
		}
	}
}

// end ends a load: no request is under way after it.
func (l *load) end() {
	l.ending.Store(true)
	l.writers.Wait()
}

// check reads back every record that was acknowledged, up to a size of the log.
func (l *load) check(size uint64) {
	t := l.h.t
	t.Helper()
	checked := 0
	for _, a := range l.good {
		if a.version.Index >= size {
			continue
		}
		checked++
		got, err := l.h.read(l.h.nurse, a.version.Record, 1, events.PurposeTreatment)
		if err != nil || !bytes.Equal(got, a.content) {
			t.Fatalf("the acknowledged record of event %d is lost: %v", a.version.Index, err)
		}
		l.h.verify(a.version.Done)
	}
	t.Logf("%d of %d acknowledged records are there; refusals %v, broken connections %d", checked, len(l.good), l.refusals, l.broken)
	if checked == 0 {
		t.Error("nothing was acknowledged")
	}
}

const all = ^uint64(0)

// TestStopUnderLoad tells the server to stop while it is written to: it stops in
// good order, and what it acknowledged is there.
func TestStopUnderLoad(t *testing.T) {
	var tr transcript
	dir := filepath.Join(t.TempDir(), "ledger")
	h, s := newHouse(t, &tr, dir)
	for range 3 {
		l := h.start(2000)
		l.until("100 acknowledged", func() bool { return l.soFar() >= 100 })
		s.stop()
		l.end()
		for status := range l.refusals {
			if status != http.StatusServiceUnavailable {
				t.Errorf("refused with %d while it stopped", status)
			}
		}
		s = tr.serve(t, dir)
		h.moved(s)
		l.check(all)
	}
	s.stop()
	tr.must(t, "medverify", "log", "--dir", dir, "--vkey", filepath.Join(dir, "log.vkey"))
}

// TestBackupUnderLoad backs the ledger up while it is written to. What was
// acknowledged before a backup is in it; a backup that the log has gone on after is
// not restored, unless nobody knows of it.
func TestBackupUnderLoad(t *testing.T) {
	var tr transcript
	dir := filepath.Join(t.TempDir(), "ledger")
	sides, kept := t.TempDir(), filepath.Join(t.TempDir(), "checkpoint")
	vkey := filepath.Join(dir, "log.vkey")
	identity, recipient, err := backup.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	paper := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(paper, []byte(identity+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(sides, "keys")
	back := func(data string) string {
		return tr.must(t, "medledger", "backup", "run", "--dir", dir, "--data", filepath.Join(sides, data), "--keys", keys, "--recipients", recipient)
	}
	h, s := newHouse(t, &tr, dir)
	l := h.start(20000)
	sizes := make([]uint64, 3)
	for i := range sizes {
		before := l.soFar()
		l.until("more acknowledged", func() bool { return l.soFar() >= before+100 })
		output := back(fmt.Sprint(i % 2)) // the third goes on from the first
		if _, err := fmt.Sscan(sizeIn(output), &sizes[i]); err != nil || sizes[i] < uint64(before) {
			t.Fatalf("a backup of %d events after %d records (%v)\n%s", sizes[i], before, err, output)
		}
	}
	l.end()
	back("last")
	tr.must(t, "medverify", "log", "--dir", dir, "--vkey", vkey, "--keep", kept)
	s.stop()
	elsewhere := func() string { return filepath.Join(t.TempDir(), "ledger") }
	restore := func(data, to string, args ...string) []string {
		return append([]string{"restore", "--data", filepath.Join(sides, data), "--keys", keys, "--identity", paper, "--dir", to}, args...)
	}
	tr.must(t, "medledger", "backup", "verify", "--data", filepath.Join(sides, "0"), "--keys", keys, "--identity", paper, "--scratch", elsewhere())
	for i := range 2 {
		for _, evidence := range [][]string{{"--checkpoint", kept, "--lose-events"}, {"--nothing-newer"}} {
			to := elsewhere()
			output, exit := tr.run(t, "medledger", restore(fmt.Sprint(i), to, evidence...)...)
			if exit != 1 || !strings.Contains(output, ledger.ErrWouldFork.Error()) {
				t.Errorf("a backup that the log has gone on after is restored: exit code %d\n%s", exit, output)
			}
			if _, err := os.Stat(to); !os.IsNotExist(err) {
				t.Errorf("a refused restoration leaves a folder: %v", err)
			}
		}
	}
	for _, c := range []struct {
		name string
		args []string
		size uint64
	}{
		{"1", []string{"--nothing-newer", "--lose-events"}, sizes[1]},
		{"0", []string{"--nothing-newer", "--lose-events"}, sizes[2]},
		{"last", []string{"--checkpoint", kept, "--nothing-newer"}, all},
	} {
		to := elsewhere()
		tr.must(t, "medledger", restore(c.name, to, c.args...)...)
		s := tr.serve(t, to)
		h.moved(s)
		l.check(c.size)
		s.stop()
		tr.must(t, "medverify", "log", "--dir", to, "--vkey", vkey)
		if c.size == all {
			tr.must(t, "medverify", "log", "--dir", to, "--vkey", vkey, "--checkpoint", kept)
		}
	}
}

// sizeIn finds the size in what 'medledger backup run' prints.
func sizeIn(output string) string {
	_, after, _ := strings.Cut(output, "\nsize")
	size, _, _ := strings.Cut(strings.TrimSpace(after), "\n")
	return size
}
