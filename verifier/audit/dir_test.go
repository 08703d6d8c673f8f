package audit_test

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/segment"
)

// TestFolderOfRunningLedger audits a folder whose store and tiles are ahead of
// the checkpoint that was read, as those of a running ledger are.
func TestFolderOfRunningLedger(t *testing.T) {
	h := audittest.New("a").Open().Fill(300)
	later := audittest.New("a").Open().Fill(700).Folder(100)
	for _, size := range []int{250, 300, 500} {
		h := audittest.New("a").Open().Fill(size)
		later["log/checkpoint"] = h.Serve()["checkpoint"]
		src := folder(later)
		r, err := audit.Log(t.Context(), src, audit.Options{Verifier: h.Verifier})
		if err != nil || !r.OK() {
			t.Errorf("size %d: error %v, findings %v", size, err, r.Findings)
		}
		if err := src.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	// A torn write behind everything that was promised is no lie either.
	files := h.Folder(1000)
	files["store/00000000000000000000.seg"] = append(files["store/00000000000000000000.seg"], 0, 0, 3)
	r, err := audit.Log(t.Context(), folder(files), audit.Options{Verifier: h.Verifier})
	if err != nil || !r.OK() {
		t.Errorf("torn tail: error %v, findings %v", err, r.Findings)
	}
}

// TestFolderWithNewSegment audits a folder with a segment that was just being
// made.
func TestFolderWithNewSegment(t *testing.T) {
	h := story()
	for n := range segment.HeaderSize {
		files := h.Folder(5)
		name := "store/" + segment.FileName(25)
		files[name] = segment.AppendHeader(nil, 25)[:n]
		// The segment before it is sealed by then.
		files["store/"+segment.FileName(20)] = audittest.Segment(20, h.Records()[20:], true)
		r, err := audit.Log(t.Context(), folder(files), audit.Options{Verifier: h.Verifier})
		if err != nil || !r.OK() {
			t.Errorf("header of %d bytes: error %v, findings %v", n, err, r.Findings)
		}
	}
}

func TestFolderWithoutLedger(t *testing.T) {
	h := story()
	for _, missing := range []string{"log/checkpoint", "store/"} {
		files := h.Folder(100)
		for name := range files {
			if strings.HasPrefix(name, missing) {
				delete(files, name)
			}
		}
		r, err := audit.Log(t.Context(), folder(files), audit.Options{Verifier: h.Verifier})
		if !errors.Is(err, fs.ErrNotExist) || r.FoundFalse() {
			t.Errorf("without %s: error %v, findings %v", missing, err, r.Findings)
		}
	}
	if _, err := folder(h.Folder(9)).Entries(t.Context(), 0, 22); !errors.Is(err, audit.ErrNotRead) {
		t.Errorf("entries before the checkpoint: error %v", err)
	}
}

// TestFolderExports exports a data folder: the same bytes as of what is served.
func TestFolderExports(t *testing.T) {
	h := audittest.New("a").Open().Fill(600)
	if !bytes.Equal(export(t, folder(h.Folder(100))), export(t, h.Serve())) {
		t.Error("a folder and what is served of it export differently")
	}
}
