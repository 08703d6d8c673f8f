package e2e

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/receipt"
)

// TestDemo has the demo tell its day with all FHIR bundles, and everybody verify
// what it leaves.
func TestDemo(t *testing.T) {
	records := bundles(t)
	dir := filepath.Join(t.TempDir(), "ledger")
	vkey := filepath.Join(dir, "log.vkey")
	var tr transcript

	story := tr.must(t, "medledger", "demo", "--records", records, "--dir", dir)
	for line := range strings.Lines(story) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 && !strings.Contains(line, "D="+dir) {
			t.Errorf("line of %d columns: %s", n, line)
		}
	}
	t.Run("dir", func(t *testing.T) { tr.must(t, "medverify", "log", "--dir", dir, "--vkey", vkey) })
	t.Run("kept checkpoint", func(t *testing.T) {
		tr.must(t, "medverify", "log", "--dir", dir, "--vkey", vkey, "--checkpoint", filepath.Join(dir, "demo", "checkpoint.kept"))
	})
	t.Run("export", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "log.export")
		tr.must(t, "medledger", "export", "--dir", dir, file)
		tr.must(t, "medverify", "log", "--export", file, "--vkey", vkey)
		exported, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		ofDemo, err := os.ReadFile(filepath.Join(dir, "demo", "log.export"))
		if err != nil {
			t.Fatal(err)
		}
		if sha256.Sum256(exported) != sha256.Sum256(ofDemo) {
			t.Error("the export of the demo and that of medledger export differ")
		}
	})
	t.Run("receipts", func(t *testing.T) { testReceipts(t, &tr, dir) })
	t.Run("served", func(t *testing.T) {
		s := tr.serve(t, dir)
		token := filepath.Join(dir, "demo", "tokens", "auditor")
		tr.must(t, "medverify", "log", "--url", s.url+"/log", "--vkey", vkey, "--token-file", token)
		testOutsideJudges(t, s.url, dir, token)
		h := &house{t: t, tr: &tr, dir: dir}
		h.register(s) // with what lies in D/admin.token
		s.metrics()
		s.stop()
	})
	testNothingPersonal(t, records, []string{dir, dir + ".custody"}, tr.Bytes())
}

// testReceipts checks every receipt that the demo left, with medverify and with
// torchwood.
func testReceipts(t *testing.T, tr *transcript, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "demo", "receipts", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 82 {
		t.Fatalf("%d receipts, want one of every bundle at least", len(files))
	}
	policy := policyOf(verifierOf(t, dir))
	for _, file := range files {
		tr.must(t, "medverify", "receipt", "--vkey", filepath.Join(dir, "log.vkey"), file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := receipt.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range append(r.Announcements, receipt.ProvedStatement{Statement: r.Statement, Proof: r.Proof}) {
			if err := torchwood.VerifyProof(policy, tlog.RecordHash(p.Statement), p.Proof); err != nil {
				t.Errorf("%s: torchwood: %v", filepath.Base(file), err)
			}
		}
	}
	t.Logf("%d receipts", len(files))
}

func verifierOf(t *testing.T, dir string) note.Verifier {
	return verifierIn(t, filepath.Join(dir, "log.vkey"))
}

func verifierIn(t *testing.T, file string) note.Verifier {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func policyOf(v note.Verifier) torchwood.Policy {
	return torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(v.Name()), torchwood.SingleVerifierPolicy(v))
}

// bearer sends a token with every request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return transport.RoundTrip(r)
}

// testOutsideJudges has tessera's fsck and a torchwood client read all of both served
// logs, the log with an auditor's token, the state log without one.
func testOutsideJudges(t *testing.T, service, dir, tokenFile string) {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	folder := ledger.FolderAt(dir)
	for _, log := range []struct {
		url, vkey string
		reader    *http.Client
	}{
		{service + "/log/", folder.VerifierKey(), &http.Client{Transport: bearer(strings.TrimSpace(string(token)))}},
		{service + "/state/", folder.StateVerifierKey(), &http.Client{Transport: transport}},
	} {
		v := verifierIn(t, log.vkey)
		base, err := url.Parse(log.url)
		if err != nil {
			t.Fatal(err)
		}
		fetcher, err := client.NewHTTPFetcher(base, log.reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := fsck.New(v.Name(), v, fetcher, leafHashes, fsck.Opts{N: 2}).Check(t.Context()); err != nil {
			t.Errorf("fsck of %s: %v", v.Name(), err)
		}
		if err := readAll(t, t.Context(), log.url, v, log.reader); err != nil {
			t.Errorf("torchwood, of %s: %v", v.Name(), err)
		}
	}
}

// leafHashes returns the hashes of the leaves of an entry bundle.
func leafHashes(bundle []byte) (hashes [][]byte, err error) {
	for len(bundle) > 0 {
		var entry []byte
		if entry, bundle, err = torchwood.ReadTileEntry(bundle); err != nil {
			return nil, err
		}
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}

// readAll reads every entry of the log with torchwood, and proves some.
func readAll(t *testing.T, ctx context.Context, log string, v note.Verifier, auditor *http.Client) error {
	fetcher, err := torchwood.NewTileFetcher(log, torchwood.WithHTTPClient(auditor))
	if err != nil {
		return err
	}
	signed, err := fetcher.ReadEndpoint(ctx, "checkpoint")
	if err != nil {
		return err
	}
	checkpoint, _, err := torchwood.VerifyCheckpoint(signed, policyOf(v))
	if err != nil {
		return err
	}
	reader, err := torchwood.NewClient(fetcher)
	if err != nil {
		return err
	}
	var entries int64
	for range reader.AllEntries(ctx, checkpoint.Tree, 0) {
		entries++
	}
	if err := reader.Err(); err != nil {
		return err
	}
	if entries != checkpoint.N {
		t.Errorf("torchwood read %d of %d entries", entries, checkpoint.N)
	}
	for index := int64(0); index < checkpoint.N; index += 97 {
		entry, path, err := reader.Entry(ctx, checkpoint.Tree, index)
		if err != nil {
			return err
		}
		text := torchwood.FormatProof(index, path, signed)
		if err := torchwood.VerifyProof(policyOf(v), tlog.RecordHash(entry), text); err != nil {
			return err
		}
	}
	return nil
}
