package ledger_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/decision"
)

// large is a content of several chunks.
var large = strings.Repeat("0123456789abcdef", 30_000)

// begun opens a release and reads its first bytes.
func (c *clinic) begun(r *ledger.Release, err error) *ledger.Release {
	c.t.Helper()
	c.opened(r, err)
	if n, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		c.t.Fatalf("%d bytes, then %v", n, err)
	}
	return r
}

// undelivered logs that a release did not arrive and returns the event.
func (c *clinic) undelivered(r *ledger.Release, cause error) events.Event {
	c.t.Helper()
	for range 2 { // said twice, it is logged once
		if err := r.Undelivered(context.Background(), cause); err != nil {
			c.t.Fatal(err)
		}
	}
	var found []events.Event
	for _, e := range c.history(r.Record) {
		if _, ok := e.Event.Data.(*events.DeliveryFailed); ok && e.Event.Causation == r.Event.ID {
			c.verify(e)
			found = append(found, e.Event)
		}
	}
	if len(found) != 1 {
		c.t.Fatalf("%d events say that event %d did not arrive", len(found), r.Index)
	}
	return found[0]
}

// endings take a right away from somebody who reads on its strength.
var endings = map[string]func(c *clinic, record events.ID) (read func() (*ledger.Release, error), end func(), reason string){
	"consent withdrawn": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		return c.access(c.doctor, record, events.PurposeTreatment), func() {
			c.must(c.WithdrawConsent(context.Background(), c.patient, c.subject, events.ID{}, events.PurposeTreatment))
		}, decision.RefusedConsent
	},
	"care closed": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		return c.access(c.nurse, record, events.PurposeTreatment), func() {
			c.must(c.CloseCare(context.Background(), c.clerk, c.subject, c.care))
		}, decision.RefusedNoRelationship
	},
	"care run out": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		c.must(c.CloseCare(context.Background(), c.clerk, c.subject, c.care))
		c.must(c.OpenCare(context.Background(), c.clerk, ledger.Care{Patient: c.subject, Member: c.nurse.Actor, Until: c.in(time.Minute)}))
		return c.access(c.nurse, record, events.PurposeTreatment), func() { c.wait(time.Minute) }, decision.RefusedNoRelationship
	},
	"proxy dismissed": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		return c.access(c.proxy, record, events.PurposeFamily), func() {
			c.must(c.DismissProxy(context.Background(), c.patient, c.subject, c.appointment))
		}, decision.RefusedNotProxy
	},
	"share ended": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		share := c.share(record)
		return c.receive(share), func() {
			c.must(c.EndShare(context.Background(), c.clerk, share))
		}, decision.RefusedShareEnded
	},
	"share run out": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		return c.receive(c.share(record)), func() { c.wait(time.Hour) }, decision.RefusedShareEnded
	},
	"consent to a share withdrawn": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		return c.receive(c.share(record)), func() {
			c.must(c.WithdrawConsent(context.Background(), c.patient, c.subject, events.ID{}, events.PurposeTreatment))
		}, decision.RefusedConsent
	},
	"token revoked": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		who := c.nurse
		who.Token = c.token(c.nurse, time.Hour)
		return c.access(who, record, events.PurposeTreatment), func() {
			c.must(c.RevokeToken(context.Background(), who, who.Actor, who.Token))
		}, ""
	},
	"token run out": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		who := c.nurse
		who.Token = c.token(c.nurse, time.Minute)
		return c.access(who, record, events.PurposeTreatment), func() { c.wait(time.Minute) }, ""
	},
	"record refiled": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		return c.access(c.patient, record, events.PurposePatient), func() {
			c.must(c.Refile(context.Background(), c.clerk, record, c.newPatient()))
		}, decision.RefusedNotOwn
	},
	"merged into one who refused": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		other := c.newPatient()
		c.must(c.WithdrawConsent(context.Background(), c.clerk, other, events.ID{}, events.PurposeTreatment))
		return c.access(c.doctor, record, events.PurposeTreatment), func() {
			c.must(c.MergePatients(context.Background(), c.clerk, c.subject, other))
		}, decision.RefusedConsent
	},
	"destruction approved": func(c *clinic, record events.ID) (func() (*ledger.Release, error), func(), string) {
		return c.access(c.patient, record, events.PurposePatient), func() {
			if _, err := c.destroy(record); err != nil {
				c.t.Fatal(err)
			}
		}, decision.RefusedDestroyed
	},
}

func (c *clinic) access(who ledger.Command, record events.ID, purpose events.Purpose) func() (*ledger.Release, error) {
	return func() (*ledger.Release, error) {
		return c.Access(context.Background(), who, ledger.Reading{Record: record, Purpose: purpose})
	}
}

func (c *clinic) receive(share events.ID) func() (*ledger.Release, error) {
	return func() (*ledger.Release, error) { return c.Receive(context.Background(), c.recipient, share) }
}

// token gives an actor a token and returns its id.
func (c *clinic) token(who ledger.Command, lasts time.Duration) events.ID {
	c.t.Helper()
	r, secret, err := c.IssueToken(context.Background(), c.admin, who.Actor, c.in(lasts))
	c.must(r, err)
	if got, err := c.Authenticate(secret); err != nil || got.ActorID != who.Actor || got.Token != tokenOf(r) {
		c.t.Fatalf("a new token is %+v's, %v", got, err)
	}
	return tokenOf(r)
}

// TestRightEndsWhileReading takes a right away while somebody reads: the next read
// fails, what others read goes on, and the log says what did not arrive.
func TestRightEndsWhileReading(t *testing.T) {
	for name, ending := range endings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClinic(t)
			record, another := c.record(large), c.recordOf(c.newPatient(), large)
			read, end, reason := ending(c, record)
			release := c.begun(read())
			bystander := c.begun(c.access(c.doctor, another, events.PurposeTreatment)())

			end()

			n, err := release.Read(make([]byte, 1<<20))
			if n != 0 || !errors.Is(err, ledger.ErrRightEnded) {
				t.Fatalf("the next read gives %d bytes, %v", n, err)
			}
			if got := c.drain(bystander); len(got) != len(large)-1000 {
				t.Errorf("somebody else's release ended after %d bytes", len(got))
			}
			failed := c.undelivered(release, err)
			if d := failed.Data.(*events.DeliveryFailed); d.Reason != events.FailureRightEnded || d.Actor != release.Event.Actor() || failed.Subject != record {
				t.Errorf("logged is %+v about %v", d, failed.Subject)
			}
			_, err = read()
			if reason == "" {
				if !errors.Is(err, ledger.ErrUnauthenticated) {
					t.Errorf("begun again with a dead token: %v", err)
				}
				return
			}
			c.refused(err, reason)
		})
	}
}

// TestNothingIsReadAfterAWithdrawal races readers against a withdrawal, many times:
// when it has returned, no read that begins yields anything, and nothing is
// released.
func TestNothingIsReadAfterAWithdrawal(t *testing.T) {
	c := newClinic(t)
	record := c.record(large)
	random := rand.New(rand.NewPCG(3, 4))
	var late, refused, cut atomic.Int64
	for range 200 {
		var withdrawn atomic.Bool
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				buffer := make([]byte, 16<<10)
				for {
					after := withdrawn.Load()
					release, err := c.Access(context.Background(), c.doctor, treating(record))
					if err != nil {
						if !errors.Is(err, ledger.ErrRefused) && !errors.Is(err, ledger.ErrRightEnded) {
							t.Error(err)
						}
						refused.Add(1)
						return
					}
					if after {
						late.Add(1)
					}
					for err == nil {
						var n int
						after := withdrawn.Load()
						if n, err = release.Read(buffer); after && n > 0 {
							late.Add(1)
						}
						runtime.Gosched()
					}
					if errors.Is(err, ledger.ErrRightEnded) {
						cut.Add(1)
					}
					release.Close()
				}
			})
		}
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
		if _, err := c.WithdrawConsent(context.Background(), c.patient, c.subject, events.ID{}, events.PurposeTreatment); err != nil {
			t.Error(err)
		}
		withdrawn.Store(true)
		wg.Wait()
		if _, err := c.GrantConsent(context.Background(), c.patient, c.subject, events.PurposeTreatment); err != nil {
			t.Error(err)
		}
	}
	if late.Load() > 0 {
		t.Errorf("%d reads gave something after the withdrawal", late.Load())
	}
	if cut.Load() == 0 || refused.Load() == 0 {
		t.Errorf("only %d reads were cut and %d refused: the race was none", cut.Load(), refused.Load())
	}
	t.Logf("%d cut, %d refused", cut.Load(), refused.Load())
}

// TestWithdrawalInTheTurnOfTheRelease: the release is decided, and before it is
// opened the right has ended.
func TestWithdrawalInTheTurnOfTheRelease(t *testing.T) {
	c := newClinic(t)
	record := c.record(large)
	var released *ledger.Release
	var err error
	c.inOneTurn(func() {
		released, err = c.access(c.doctor, record, events.PurposeTreatment)()
	}, func() {
		c.must(c.WithdrawConsent(context.Background(), c.patient, c.subject, events.ID{}, events.PurposeTreatment))
	})
	if released != nil || !errors.Is(err, ledger.ErrRightEnded) {
		t.Errorf("released %v, %v", released, err)
	}
	c.lastFailed(record, events.FailureRightEnded)
}

// lastFailed expects a record's history to end with an access that did not arrive.
func (c *clinic) lastFailed(record events.ID, reason events.DeliveryFailure) {
	c.t.Helper()
	history := c.history(record)
	if len(history) < 3 {
		c.t.Fatalf("%d events, want an access and its failure", len(history))
	}
	accessed, failed := history[len(history)-2].Event, history[len(history)-1].Event
	d, ok := failed.Data.(*events.DeliveryFailed)
	if !ok || accessed.Type != events.TypeRecordAccessed || failed.Causation != accessed.ID || d.Release != accessed.ID || d.Reason != reason {
		c.t.Errorf("the history ends with %+v and %+v", accessed, failed)
	}
}

// TestCallerGoesAway: a caller who goes away between the decision and the content
// gets nothing, and the log says so.
func TestCallerGoesAway(t *testing.T) {
	c := newClinic(t)
	record := c.record(large)
	ctx, cancel := context.WithCancel(t.Context())
	var released *ledger.Release
	var err error
	c.whileDecided(func() {
		released, err = c.Access(ctx, c.doctor, treating(record))
	}, cancel)
	if released != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("released %v, %v", released, err)
	}
	c.lastFailed(record, events.FailureDisconnected)

	before := len(c.history(record))
	if _, err := c.Access(ctx, c.doctor, treating(record)); err == nil {
		t.Error("released to a caller who had gone before")
	}
	// Between the two, the history has the reading of the history itself.
	if made := len(c.history(record)) - before - 1; made%2 != 0 {
		t.Errorf("%d events of a caller who had gone before: not each access has its failure", made)
	}
}

// TestTokenRevokedInTheTurn: a command that waits while its token is revoked does
// not happen, and neither does its repetition tell what it led to.
func TestTokenRevokedInTheTurn(t *testing.T) {
	c := newClinic(t)
	who := keyed(c.clerk, "before")
	who.Token = c.token(c.clerk, time.Hour)
	grant := func(who ledger.Command) error {
		_, err := c.GrantConsent(context.Background(), who, c.subject, events.PurposePayment)
		return err
	}
	if err := grant(who); err != nil {
		t.Fatal(err)
	}
	size := c.size()
	var again, fresh error
	c.inOneTurn(func() {
		c.must(c.RevokeToken(context.Background(), c.admin, c.clerk.Actor, who.Token))
	}, func() {
		fresh = grant(keyed(who, "after"))
	}, func() {
		again = grant(who)
	})
	if !errors.Is(fresh, ledger.ErrUnauthenticated) || !errors.Is(again, ledger.ErrUnauthenticated) {
		t.Errorf("under a token revoked before it in the turn: %v; repeated: %v", fresh, again)
	}
	if made := c.size() - size; made != 2 { // the revocation, and the turn before
		t.Errorf("%d events", made)
	}
	if err := grant(c.clerk); err != nil {
		t.Errorf("without a token: %v", err)
	}
}
