package kept_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/kept"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/receipt"
)

// shown is what a ledger has given to people.
type shown struct{ log, state, receipt, promised, bundle []byte }

func newShown(t testing.TB) shown {
	t.Helper()
	h := audittest.New("kept")
	record := h.StateStory()
	s := shown{
		log: h.Serve()["checkpoint"], state: h.ServeState(h.HonestStates())["checkpoint"],
		bundle: h.Bundle(record, h.Shown()).Write(),
	}
	hashes := make([]tlog.Hash, len(h.Statements))
	for i, raw := range h.Statements {
		hashes[i] = proof.LeafHash(raw)
	}
	// The receipt need not hold: only its checkpoint matters.
	proved := receipt.ProvedStatement{Statement: h.Statements[0], Proof: proof.FormatProof(0, audittest.Path(hashes, 0), s.log)}
	for to, r := range map[*[]byte]*receipt.Receipt{
		&s.receipt: {
			Status: receipt.StatusProved, Statement: proved.Statement, Proof: proved.Proof,
			Announcements: []receipt.ProvedStatement{proved},
		},
		&s.promised: {Status: receipt.StatusPromised, Statement: proved.Statement},
	} {
		text, err := receipt.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		*to = text
	}
	return s
}

func TestFind(t *testing.T) {
	s := newShown(t)
	header, _, _ := bytes.Cut(s.bundle, []byte("\n"))
	header = append(bytes.Clone(header), '\n')
	other := audittest.NewOf("elsewhere.example/ledger", "other").Open()
	for name, test := range map[string]struct {
		file        []byte
		log, states []byte
		want        error
	}{
		"the log's":                     {s.log, s.log, nil, nil},
		"both":                          {slices.Concat(s.log, s.state), s.log, s.state, nil},
		"both, the state log's first":   {slices.Concat(s.state, s.log), s.log, s.state, nil},
		"a receipt":                     {s.receipt, s.log, nil, nil},
		"a receipt, saved by a browser": {slices.Concat([]byte("\r\n "), s.receipt, []byte("\r\n")), s.log, nil, nil},
		"a bundle":                      {s.bundle, s.log, s.state, nil},
		"the beginning of a bundle":     {s.bundle[:len(header)+9], s.log, s.state, nil},
		"what counts as the log's":      {[]byte("hello"), []byte("hello"), nil, nil},
		"another log's":                 {other.Serve()["checkpoint"], other.Serve()["checkpoint"], nil, nil},
		"nothing":                       {nil, nil, nil, kept.ErrNone},
		"the state log's only":          {s.state, nil, nil, kept.ErrNone},
		"the log's twice":               {slices.Concat(s.log, s.log), nil, nil, kept.ErrSeveral},
		"the state log's twice":         {slices.Concat(s.log, s.state, s.state), nil, nil, kept.ErrSeveral},
		"a promised receipt":            {s.promised, nil, nil, receipt.ErrPromised},
		"a cut receipt":                 {s.receipt[:len(s.receipt)-1], nil, nil, kept.ErrNone},
		"a cut header":                  {header[:len(header)-2], nil, nil, kept.ErrNone},
		"other JSON":                    {[]byte(`{"log":"x"}`), nil, nil, kept.ErrNone},
	} {
		got, err := kept.Find(test.file, audittest.Origin)
		if !errors.Is(err, test.want) || !bytes.Equal(got.Log, test.log) || !bytes.Equal(got.State, test.states) {
			t.Errorf("%s: %q and %q, %v", name, got.Log, got.State, err)
		}
	}
}

// TestFindGolden finds the checkpoints in bundles that the first release wrote.
func TestFindGolden(t *testing.T) {
	key, err := os.ReadFile("../history/testdata/log.vkey")
	if err != nil {
		t.Fatal(err)
	}
	v, err := proof.ParseVerifierKey(key)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile("../history/testdata/destroyed-v1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	found, err := kept.Find(bundle, v.Name())
	if err != nil {
		t.Fatal(err)
	}
	log, err := proof.VerifyCheckpoint(found.Log, v)
	states, err2 := proof.PeekCheckpoint(found.State)
	if err != nil || err2 != nil || log.Size != 26 || states.Size != 12 {
		t.Errorf("%+v, %v, and %+v, %v", log, err, states, err2)
	}
}

func FuzzFind(f *testing.F) {
	s := newShown(f)
	for _, file := range [][]byte{s.log, s.state, slices.Concat(s.log, s.state), s.receipt, s.promised, s.bundle} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		found, err := kept.Find(file, audittest.Origin)
		if err != nil {
			if !errors.Is(err, kept.ErrNone) && !errors.Is(err, kept.ErrSeveral) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		if len(found.Log) == 0 {
			t.Fatal("no checkpoint, and no error")
		}
		if bytes.HasPrefix(bytes.TrimSpace(file), []byte("{")) {
			return // whose checkpoints a bundle or a receipt has, the keys judge
		}
		// What was found is found again in what --keep would write of it.
		again, err := kept.Find(slices.Concat(found.Log, found.State), audittest.Origin)
		if _, peeked := proof.PeekCheckpoint(found.Log); peeked == nil && (err != nil || !bytes.Equal(again.Log, found.Log) || !bytes.Equal(again.State, found.State)) {
			t.Errorf("found %q and %q, and again %q and %q, %v", found.Log, found.State, again.Log, again.State, err)
		}
	})
}
