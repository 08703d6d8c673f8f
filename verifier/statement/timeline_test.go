package statement_test

import (
	"errors"
	"testing"

	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/statement"
)

// TestTimeline asks at every place of a log with a rotation which keys may sign.
func TestTimeline(t *testing.T) {
	h := audittest.New("a").Open()
	h.Rotate("second")
	h.Fill(20)
	h.Rotate("third")
	h.Fill(30)
	var keys statement.Timeline
	if _, err := keys.At(0); !errors.Is(err, statement.ErrUnknownKey) || keys.Origin() != "" {
		t.Errorf("nothing announced: %v", err)
	}
	for _, index := range []uint64{0, audittest.Opened, 20} {
		if err := keys.Announce(h.Statements[index], index); err != nil {
			t.Fatal(err)
		}
	}
	for i, raw := range h.Statements {
		may, err := keys.At(uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := statement.Verify(raw, may); err != nil {
			t.Errorf("event %d: %v", i, err)
		}
		for _, seed := range []string{"a", "second", "third"} {
			signer := audittest.StatementKey(seed)
			forged, err := signer.Sign(h.Events[i])
			if err != nil {
				t.Fatal(err)
			}
			_, err = statement.Verify(forged, may)
			if holds := signer.JWK().Kid == h.Signed(i).JWK().Kid; holds != (err == nil) {
				t.Errorf("event %d signed by %s: %v", i, seed, err)
			}
		}
	}
	for name, raw := range map[string][]byte{"no statement": nil, "no announcement": h.Statements[3], "opening again": h.Statements[0]} {
		if err := keys.Announce(raw, 31); err == nil {
			t.Errorf("%s passes as an announcement", name)
		}
	}
	if keys.Origin() != audittest.Origin {
		t.Errorf("origin %q", keys.Origin())
	}
}
