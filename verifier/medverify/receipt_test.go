package medverify_test

import (
	"crypto/sha256"
	"encoding/base64"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/medverify"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/receipt"
)

func TestReceipt(t *testing.T) {
	p := newPlace(t)
	save := func(r *receipt.Receipt) string {
		text, err := receipt.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(text)
		return write(t, filepath.Join(p.folder, base64.RawURLEncoding.EncodeToString(digest[:])), text)
	}
	e := p.Events[17]
	run(t, still(), "receipt", "--vkey", p.vkey, save(prove(t, p.History, 17))).want(t, medverify.Verified,
		"VERIFIED", "origin clinic.example/ledger", "event "+e.ID.String(), "type "+string(e.Type),
		"subject "+e.Subject.String(), "time "+e.Time.String(), "index 17", "checkpoint of 25 events, root sx7fOjw1e")

	forged := prove(t, p.History, 17)
	forged.Statement = p.Statements[16]
	run(t, still(), "receipt", "--vkey", p.vkey, save(forged)).want(t, medverify.FoundFalse, "FOUND FALSE", "does not verify")
	run(t, still(), "receipt", "--vkey", p.vkey, p.vkey).want(t, medverify.FoundFalse, "malformed receipt")
	promised := &receipt.Receipt{Status: receipt.StatusPromised, Statement: p.Statements[17]}
	run(t, still(), "receipt", "--vkey", p.vkey, save(promised)).want(t, medverify.CouldNotCheck, "only promised")
}

// prove makes the receipt of the i-th event.
func prove(t *testing.T, h *audittest.History, i int) *receipt.Receipt {
	t.Helper()
	hashes := make([]tlog.Hash, len(h.Statements))
	for k, raw := range h.Statements {
		hashes[k] = proof.LeafHash(raw)
	}
	proved := func(i int) receipt.ProvedStatement {
		text := proof.FormatProof(uint64(i), audittest.Path(hashes, i), audittest.Checkpoint(hashes, h.LogSigner))
		return receipt.ProvedStatement{Statement: h.Statements[i], Proof: text}
	}
	own := proved(i)
	r := &receipt.Receipt{Status: receipt.StatusProved, Statement: own.Statement, Proof: own.Proof, Announcements: []receipt.ProvedStatement{proved(0)}}
	if i > 15 {
		r.Announcements = append(r.Announcements, proved(15))
	}
	return r
}
