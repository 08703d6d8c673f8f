package ledger_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/decision"
)

func TestTokens(t *testing.T) {
	c := newClinic(t)
	issued, secret, err := c.IssueToken(t.Context(), keyed(c.admin, "t"), c.nurse.Actor, c.in(time.Hour))
	c.must(issued, err)
	if strings.Contains(string(issued.Statement), secret) || len(secret) != 4+43 || !strings.HasPrefix(secret, "mlt_") {
		t.Errorf("the secret is %d bytes, and perhaps in the log", len(secret))
	}
	again, shown, err := c.IssueToken(t.Context(), keyed(c.admin, "t"), c.nurse.Actor, c.in(time.Hour))
	if err != nil || again.Index != issued.Index || shown != "" {
		t.Errorf("repeated: event %d, %d bytes of a secret, %v", again.Index, len(shown), err)
	}
	for _, when := range []string{"at once", "after a restart"} {
		who, err := c.Authenticate(secret)
		if err != nil || who.ActorID != c.nurse.Actor || who.Token != tokenOf(issued) || who.Role != events.RoleNurse {
			t.Errorf("%s: %+v, %v", when, who, err)
		}
		c.restart()
	}
	for name, bad := range map[string]string{
		"nothing":           "",
		"without a prefix":  strings.TrimPrefix(secret, "mlt_"),
		"nobody's":          "mlt_" + strings.Repeat("A", 43),
		"with a byte more":  secret + "A",
		"with a byte less":  secret[:len(secret)-1],
		"with a line break": secret[:20] + "\n" + secret[20:],
		"in other letters":  strings.ToUpper(secret),
	} {
		if who, err := c.Authenticate(bad); !errors.Is(err, ledger.ErrUnauthenticated) || !who.ActorID.IsZero() {
			t.Errorf("a token %s is %v's, %v", name, who.ActorID, err)
		}
	}
	_, err = c.RevokeToken(t.Context(), c.doctor, c.doctor.Actor, tokenOf(issued))
	c.refused(err, decision.RefusedUnknownItem)
	c.must(c.RevokeToken(t.Context(), c.nurse, c.nurse.Actor, tokenOf(issued)))
	if _, err := c.Authenticate(secret); !errors.Is(err, ledger.ErrUnauthenticated) {
		t.Errorf("revoked: %v", err)
	}
	_, err = c.RevokeToken(t.Context(), c.admin, c.nurse.Actor, tokenOf(issued))
	c.refused(err, decision.RefusedUnknownItem)
}

func TestLifetimesOfTokens(t *testing.T) {
	c := newClinic(t)
	if _, _, err := c.IssueToken(t.Context(), c.admin, c.nurse.Actor, c.in(ledger.MaxTokenLifetime+time.Second)); !errors.Is(err, ledger.ErrLifetime) {
		t.Error(err)
	}
	_, _, err := c.IssueToken(t.Context(), c.admin, c.nurse.Actor, c.in(0))
	c.refused(err, decision.RefusedUntil)
	_, _, err = c.IssueToken(t.Context(), c.admin, events.MustNewID(), c.in(time.Hour))
	c.refused(err, decision.RefusedUnknownMember)
	for _, lifetime := range []time.Duration{0, -time.Hour, ledger.MaxTokenLifetime + 1} {
		if _, _, err := c.IssueOnTheMachine(t.Context(), events.ID{}, lifetime); !errors.Is(err, ledger.ErrLifetime) {
			t.Errorf("%v: %v", lifetime, err)
		}
	}
	if _, _, err := c.IssueOnTheMachine(t.Context(), c.nurse.Actor, time.Hour); !errors.Is(err, ledger.ErrNoAdministrator) {
		t.Error(err)
	}
	issued, secret, err := c.IssueOnTheMachine(t.Context(), c.approver.Actor, time.Hour)
	c.must(issued, err)
	if who, err := c.Authenticate(secret); err != nil || who.ActorID != c.approver.Actor {
		t.Errorf("%+v, %v", who, err)
	}
}

// TestClockSteps moves the clock back and forth: times never run backwards, and
// what has once ended by the log's time is ended.
func TestClockSteps(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	share := c.share(record) // for an hour
	_, secret, err := c.IssueToken(t.Context(), c.admin, c.nurse.Actor, c.in(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	token := c.nurse
	if who, err := c.Authenticate(secret); err != nil {
		t.Fatal(err)
	} else {
		token.Token = who.Token
	}
	c.wait(-30 * time.Hour)
	c.drain(c.opened(c.Receive(t.Context(), c.recipient, share)))
	if _, err := c.Authenticate(secret); err != nil {
		t.Errorf("the clock stepped back: %v", err)
	}
	c.wait(32 * time.Hour)
	c.read(c.doctor, record, 0, events.PurposeTreatment) // the log's time is past both ends
	c.wait(-40 * time.Hour)
	_, err = c.Receive(t.Context(), c.recipient, share)
	c.refused(err, decision.RefusedShareEnded)
	if _, err := c.Authenticate(secret); !errors.Is(err, ledger.ErrUnauthenticated) {
		t.Errorf("a token lives again: %v", err)
	}
	if _, err := c.Access(t.Context(), token, treating(record)); !errors.Is(err, ledger.ErrUnauthenticated) {
		t.Errorf("a command under a token that lives again: %v", err)
	}
	var last events.Timestamp
	for i := range c.size() {
		e := c.event(i)
		if e.Time < last {
			t.Fatalf("event %d is of %s, after %s", i, e.Time, last)
		}
		last = e.Time
	}
}
