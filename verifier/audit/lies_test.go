package audit_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/proof"
)

// lie is a history or what is served of it, falsified.
type lie struct {
	name string
	// tell changes a story, whose index, sizes and subjects are known, and
	// returns what is served.
	tell func(t *testing.T, h *audittest.History) audit.Source
	kept func(h *audittest.History) []byte
	// want are the findings, all of them, with their indices if they have one.
	want []string
}

// swap exchanges two statements and signs the tree anew.
func swap(h *audittest.History, i, j int) {
	h.Events[i], h.Events[j] = h.Events[j], h.Events[i]
	h.Statements[i], h.Statements[j] = h.Statements[j], h.Statements[i]
}

var lies = []lie{
	{name: "flipped byte in a statement, nothing else changed", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		served := h.Serve()
		changed := slices.Clone(h.Statements)
		changed[10] = bytes.Replace(changed[10], []byte("TREAT"), []byte("HRESCH")[:5], 1)
		served["tile/entries/000.p/25"], _ = proof.FormatBundle(changed)
		return served
	}, want: []string{"tile-mismatch 10", "statement-malformed 10", "root-mismatch"}},
	{name: "purpose changed to another that exists, tree made anew, checkpoint left", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		signed := h.Serve()["checkpoint"]
		h.Statements[10] = bytes.Replace(h.Statements[10], []byte(`"version":1`), []byte(`"version":2`), 1)
		served := h.Serve()
		served["checkpoint"] = signed
		return served
	}, want: []string{"statement-signature 10", "root-mismatch"}},
	{name: "tail removed, checkpoint left", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Folder(10)
		delete(files, "store/00000000000000000020.seg")
		return folder(files)
	}, want: []string{"statements-missing 20"}},
	{name: "tail removed within a segment", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Folder(10)
		files["store/00000000000000000020.seg"] = audittest.Segment(20, h.Records()[20:21], false)
		return folder(files)
	}, want: []string{"statements-missing 21"}},
	{name: "segment cut", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Folder(100)
		name := "store/00000000000000000000.seg"
		files[name] = files[name][:len(files[name])-7]
		return folder(files)
	}, want: []string{"statements-missing 24"}},
	{name: "header of a segment in the middle cut", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Folder(10)
		files["store/00000000000000000010.seg"] = files["store/00000000000000000010.seg"][:9]
		return folder(files)
	}, want: []string{"store-damaged"}},
	{name: "header of the last segment cut", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Folder(10)
		files["store/00000000000000000020.seg"] = files["store/00000000000000000020.seg"][:9]
		return folder(files)
	}, want: []string{"statements-missing 20"}},
	{name: "segment in the middle removed", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Folder(10)
		delete(files, "store/00000000000000000010.seg")
		return folder(files)
	}, want: []string{"store-damaged"}},
	{name: "flipped byte in a segment", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Folder(100)
		segment := files["store/00000000000000000000.seg"]
		segment[len(segment)-300] ^= 1
		return folder(files)
	}, want: []string{"store-damaged 24"}},
	{name: "flipped byte in a sealed segment", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Folder(15)
		files["store/00000000000000000000.seg"][400] ^= 1
		return folder(files)
	}, want: []string{"store-damaged 0"}},
	{name: "store moves an event to another record's stream and repairs its checksums", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Folder(100)
		records := h.Records()
		records[10].Stream = records[11].Stream
		files["store/00000000000000000000.seg"] = audittest.Segment(0, records, false)
		return folder(files)
	}, want: []string{"store-label 10"}},
	{name: "store keeps an event under another id", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Folder(100)
		records := h.Records()
		records[10].ID = records[11].ID
		files["store/00000000000000000000.seg"] = audittest.Segment(0, records, false)
		return folder(files)
	}, want: []string{"store-label 10"}},
	{name: "seal of a segment that was rewritten", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Folder(10)
		whole, half := files["store/00000000000000000000.seg"], h.Records()[:10]
		half[9].Stream = "record-" + half[8].ID.String()
		changed := audittest.Segment(0, half, true)
		// The records of one, the footer of the other.
		n := len(audittest.Segment(0, half, false))
		files["store/00000000000000000000.seg"] = append(changed[:n:n], whole[n:]...)
		return folder(files)
	}, want: []string{"store-label 9", "store-damaged 0"}},
	{name: "swapped events, checkpoint left", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		served := h.Serve()
		swap(h, 10, 11)
		served["tile/entries/000.p/25"] = h.Serve()["tile/entries/000.p/25"]
		return served
	}, want: []string{"tile-mismatch 10", "event-illegal 10", "decision-wrong 11", "root-mismatch"}},
	{name: "swapped events, by somebody who has the log's key", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		swap(h, 10, 11)
		return h.Serve()
	}, want: []string{"event-illegal 10", "decision-wrong 11"}},
	{name: "a recipient reads without a share", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(10, h.Signed(10), func(e *events.Event) { e.Data.(*events.RecordAccessed).Actor = h.Recipient })
		return h.Serve()
	}, want: []string{"decision-wrong 10"}},
	{name: "a clerk reads, by the rule that refuses it", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(10, h.Signed(10), func(e *events.Event) {
			d := e.Data.(*events.RecordAccessed)
			d.Actor, d.Decision.Rule = h.Clerk, "role-not-allowed"
		})
		return h.Serve()
	}, want: []string{"decision-wrong 10"}},
	{name: "a reading for research", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(10, h.Signed(10), func(e *events.Event) { e.Data.(*events.RecordAccessed).Purpose = events.PurposeResearch })
		return h.Serve()
	}, want: []string{"decision-wrong 10"}},
	{name: "a name in the place of a rule", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(10, h.Signed(10), func(e *events.Event) { e.Data.(*events.RecordAccessed).Decision.Rule = "hans-mueller" })
		return h.Serve()
	}, want: []string{"decision-wrong 10"}},
	{name: "a decision on an older state", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(10, h.Signed(10), func(e *events.Event) { e.Data.(*events.RecordAccessed).Decision.Position = 0 })
		return h.Serve()
	}, want: []string{"decision-wrong 10"}},
	{name: "a patient registers an administrator", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(5, h.Signed(5), func(e *events.Event) { e.Data.(*events.ActorRegistered).By = h.Patient })
		return h.Serve()
	}, want: []string{"decision-wrong 5"}},
	{name: "a refusal of what the rules allow", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(11, h.Signed(11), func(e *events.Event) { e.Data.(*events.AccessRefused).Actor = h.Clinician })
		return h.Serve()
	}, want: []string{"decision-wrong 11"}},
	{name: "a destruction that destroyed no key", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(21, h.Signed(21), func(e *events.Event) { e.Data.(*events.RecordDestroyed).Keys = 0 })
		return h.Serve()
	}, want: []string{"event-illegal 21"}},
	{name: "a log without its opening", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Events, h.Statements = nil, nil
		return h.Serve()
	}, want: []string{"log-empty"}},
	{name: "forged statement, by somebody who has the log's key", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(10, audittest.StatementKey("forger"), func(*events.Event) {})
		return h.Serve()
	}, want: []string{"statement-key 10"}},
	{name: "event moved to another record without the statement key", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		other := h.Events[9].Subject.String()
		h.Statements[10] = bytes.Replace(h.Statements[10], []byte(h.Events[10].Subject.String()), []byte(other), 1)
		return h.Serve()
	}, want: []string{"statement-signature 10"}},
	{name: "replayed statement", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Events = append(h.Events, h.Events[24])
		h.Statements = append(h.Statements, h.Statements[24])
		return h.Serve()
	}, want: []string{"event-repeated 25"}},
	{name: "access to a destroyed record", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Access(h.Events[8].Subject)
		h.Access(h.Events[9].Subject) // what follows is judged by itself
		return h.Serve()
	}, want: []string{"event-illegal 25"}},
	{name: "clock that steps back", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(24, h.Signer, func(e *events.Event) { e.Time = h.Events[3].Time })
		return h.Serve()
	}, want: []string{"event-illegal 24"}},
	{name: "retired statement key", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(16, audittest.StatementKey("a"), func(*events.Event) {})
		return h.Serve()
	}, want: []string{"statement-retired-key 16"}},
	{name: "statement key used before its announcement", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(14, h.Signer, func(*events.Event) {})
		return h.Serve()
	}, want: []string{"statement-key 14"}},
	{name: "announcement that replaces another than the last", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Resign(15, audittest.StatementKey("a"), func(e *events.Event) { e.Data.(*events.KeyRotated).Previous = 2 })
		h.Events, h.Statements = h.Events[:16], h.Statements[:16]
		return h.Serve()
	}, want: []string{"announcement-broken 15"}},
	{name: "unknown version of an event", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Statements[10] = bytes.ReplaceAll(h.Statements[10], []byte("record.accessed.v1"), []byte("record.accessed.v7"))
		return h.Serve()
	}, want: []string{"event-unknown 10"}},
	{name: "leaf that is no statement", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		h.Statements[10] = []byte("not a statement")
		return h.Serve()
	}, want: []string{"statement-malformed 10"}},
	{name: "hash tile that does not match", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		served := h.Serve()
		served["tile/0/000.p/25"][5*32] ^= 1
		return served
	}, want: []string{"tile-mismatch 5"}},
	{name: "hash tile of a higher level that does not match", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		served := h.Fill(600).Serve()
		served["tile/1/000.p/2"][32] ^= 1
		return served
	}, want: []string{"tile-mismatch 256"}},
	{name: "hash tile that is too short", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		served := h.Serve()
		served["tile/0/000.p/25"] = served["tile/0/000.p/25"][:32]
		return served
	}, want: []string{"tile-mismatch 0"}},
	{name: "hash tile removed", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		files := h.Fill(300).Folder(1000)
		delete(files, "log/tile/0/001.p/44")
		return folder(files)
	}, want: []string{"tile-missing 256"}},
	{name: "entry bundle that is cut", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		served := h.Serve()
		served["tile/entries/000.p/25"] = served["tile/entries/000.p/25"][:1000]
		return served
	}, want: []string{"bundle-malformed 0"}},
	{name: "whole history rewritten, with the wrong log key", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		forged := audittest.New("forger")
		forged.Story()
		return forged.Serve()
	}, want: []string{"checkpoint-signature"}},
	{name: "checkpoint changed", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		served := h.Serve()
		served["checkpoint"] = bytes.Replace(served["checkpoint"], []byte("\n25\n"), []byte("\n24\n"), 1)
		return served
	}, want: []string{"checkpoint-signature"}},
	{name: "checkpoint that is none", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		served := h.Serve()
		served["checkpoint"] = []byte("hello")
		return served
	}, want: []string{"checkpoint-malformed"}},
	{name: "log of another origin", tell: func(_ *testing.T, _ *audittest.History) audit.Source {
		other := audittest.NewOf("elsewhere.example/ledger", "a")
		other.Story()
		return other.Serve()
	}, want: []string{"checkpoint-origin"}},
	{name: "statements of another origin under the log's key", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		other := audittest.NewOf("elsewhere.example/ledger", "a")
		other.Story()
		return audittest.Serve(other.Statements, h.LogSigner)
	}, want: []string{"statement-origin 0"}},
	{name: "kept checkpoint from a fork", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		return h.Serve()
	}, kept: func(h *audittest.History) []byte {
		fork := audittest.New("a").Open()
		fork.Fill(12)
		return fork.Serve()["checkpoint"]
	}, want: []string{"kept-fork"}},
	{name: "kept checkpoint of the same size with another root", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		return h.Serve()
	}, kept: func(h *audittest.History) []byte {
		return audittest.New("a").Open().Fill(25).Serve()["checkpoint"]
	}, want: []string{"kept-fork"}},
	{name: "kept checkpoint larger than the log", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		return audittest.Serve(h.Statements[:20], h.LogSigner)
	}, kept: func(h *audittest.History) []byte { return h.Serve()["checkpoint"] }, want: []string{"kept-larger 20"}},
	{name: "kept checkpoint, and statements that are neither its nor the log's", tell: func(_ *testing.T, h *audittest.History) audit.Source {
		signed := h.Serve()["checkpoint"]
		h.Statements[10] = bytes.Replace(h.Statements[10], []byte(`"version":1`), []byte(`"version":2`), 1)
		served := h.Serve()
		served["checkpoint"] = signed
		return served
	}, kept: func(*audittest.History) []byte { return story().Serve()["checkpoint"] },
		want: []string{"statement-signature 10", "root-mismatch", "kept-mismatch"}},
	{name: "truncated export", tell: func(t *testing.T, h *audittest.History) audit.Source {
		b := export(t, h.Fill(300).Serve())
		return openExport(t, b[:len(b)-9000])
	}, want: []string{"export-truncated 256"}},
	{name: "export cut within its checkpoint", tell: func(t *testing.T, h *audittest.History) audit.Source {
		return openExport(t, export(t, h.Serve())[:600])
	}, want: []string{"export-truncated 0"}},
	{name: "padded export", tell: func(t *testing.T, h *audittest.History) audit.Source {
		return openExport(t, append(export(t, h.Serve()), make([]byte, 512)...))
	}, want: []string{"export-malformed"}},
	{name: "forged statement in an export", tell: func(t *testing.T, h *audittest.History) audit.Source {
		h.Resign(10, audittest.StatementKey("forger"), func(*events.Event) {})
		return openExport(t, export(t, h.Serve()))
	}, want: []string{"statement-key 10"}},
}

// TestLies tells every lie and wants every finding about it, no more and no
// fewer, with evidence or a reason.
func TestLies(t *testing.T) {
	for _, l := range slices.Concat(lies, rightsLies) {
		t.Run(l.name, func(t *testing.T) {
			h := story()
			o := audit.Options{Verifier: h.Verifier}
			src := l.tell(t, h)
			if l.kept != nil {
				o.Kept = l.kept(h)
			}
			r, err := audit.Log(t.Context(), src, o)
			if err != nil {
				t.Fatalf("could not check: %v", err)
			}
			var got []string
			for _, f := range r.Findings {
				text := string(f.What)
				if f.Located {
					text += fmt.Sprint(" ", f.Index)
				}
				got = append(got, text)
				if f.Why == "" {
					t.Errorf("%s without a reason", text)
				}
			}
			if !slices.Equal(got, l.want) {
				t.Errorf("findings\n%v\nwant\n%v", r.Findings, l.want)
			}
			if r.OK() || !r.FoundFalse() || r.Total() != uint64(len(l.want)) {
				t.Errorf("OK %v, found false %v, %d findings", r.OK(), r.FoundFalse(), r.Total())
			}
		})
	}
}

// TestFindingNamesEvent checks that a finding about a statement says which, and
// brings the statement.
func TestFindingNamesEvent(t *testing.T) {
	h := story()
	h.Resign(10, audittest.StatementKey("forger"), func(*events.Event) {})
	r, err := audit.Log(t.Context(), h.Serve(), audit.Options{Verifier: h.Verifier})
	if err != nil || len(r.Findings) != 1 {
		t.Fatalf("error %v, findings %v", err, r.Findings)
	}
	f := r.Findings[0]
	if f.Event != h.Events[10].ID || f.Type != h.Events[10].Type || len(f.Evidence) != 2 || f.Evidence[1].Name != "statement" {
		t.Errorf("finding %+v", f)
	}
}

// TestEveryByte flips bytes all over what is served: none passes.
func TestEveryByte(t *testing.T) {
	h := story()
	for name, data := range h.Serve() {
		for at := 0; at < len(data); at += 1 + len(data)/60 {
			served := h.Serve()
			served[name][at] ^= 0x01
			r, err := audit.Log(t.Context(), served, audit.Options{Verifier: h.Verifier})
			if err == nil && r.OK() {
				t.Errorf("byte %d of %s flipped: verified", at, name)
			}
		}
	}
}

// TestManyFindings checks that findings are capped and counted.
func TestManyFindings(t *testing.T) {
	h := audittest.New("a").Open().Fill(600)
	for i := audittest.Opened; i < 600; i++ {
		h.Resign(i, audittest.StatementKey("forger"), func(*events.Event) {})
	}
	r, err := audit.Log(t.Context(), h.Serve(), audit.Options{Verifier: h.Verifier, MaxFindings: 7})
	if err != nil || len(r.Findings) != 7 || r.Counts[audit.StatementKey] != 592 || r.Total() != 592 {
		t.Errorf("error %v, %d findings, counts %v", err, len(r.Findings), r.Counts)
	}
}
