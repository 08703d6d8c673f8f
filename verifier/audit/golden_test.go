package audit_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/audit"
)

// goldenFolder reads what a released program left: testdata/folder-v1.tar.gz has
// the store, the log and the verifier key of a data folder, written before there
// were registered patients, under medledger-rules-1.
func goldenFolder(t *testing.T) (fstest.MapFS, note.Verifier) {
	t.Helper()
	file, err := os.Open("testdata/folder-v1.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	folder := make(fstest.MapFS)
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		folder[path.Clean(header.Name)] = &fstest.MapFile{Data: data}
	}
	key, err := fs.ReadFile(folder, "log.vkey")
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		t.Fatal(err)
	}
	return folder, v
}

// What the old log has.
const goldenEvents = 64

var goldenTypes = map[events.Type]uint64{
	events.TypeLedgerOpened: 1, events.TypeKeyRotated: 1, events.TypeActorRegistered: 7, events.TypeAccessRefused: 11,
	events.TypeRecordOriginated: 6, events.TypeRecordAmended: 6, events.TypeRecordAccessed: 14, events.TypeRecordDisclosed: 6,
	events.TypeRecordReceived: 6, events.TypeDestructionStarted: 3, events.TypeRecordDestroyed: 3,
}

// TestOldFolder verifies an old log completely: its lives and its decisions are
// judged by the rules that they were made by.
func TestOldFolder(t *testing.T) {
	files, v := goldenFolder(t)
	dir := audit.NewDir(files)
	defer dir.Close()
	r, err := audit.Log(t.Context(), dir, audit.Options{Verifier: v})
	if err != nil || !r.OK() || r.Verified != goldenEvents {
		t.Fatalf("error %v, %d events verified, findings %v", err, r.Verified, r.Findings)
	}
	for typ, want := range goldenTypes {
		if r.ByType[typ] != want {
			t.Errorf("%d events of %s, want %d", r.ByType[typ], typ, want)
		}
	}
	if len(r.ByType) != len(goldenTypes) {
		t.Errorf("types %v", r.ByType)
	}
}

// TestOldFolderForged flips bytes all over the old log: none passes.
func TestOldFolderForged(t *testing.T) {
	files, v := goldenFolder(t)
	const segment = "store/00000000000000000000.seg"
	whole := files[segment].Data
	for at := 0; at < len(whole); at += 1 + len(whole)/50 {
		changed := append([]byte(nil), whole...)
		changed[at] ^= 1
		files[segment] = &fstest.MapFile{Data: changed}
		dir := audit.NewDir(files)
		r, err := audit.Log(t.Context(), dir, audit.Options{Verifier: v})
		if err == nil && r.OK() {
			t.Errorf("byte %d flipped: verified", at)
		}
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	}
}
