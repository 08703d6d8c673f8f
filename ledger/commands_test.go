package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/decision"
)

// deed is a command with everything that it needs.
type deed struct {
	// do gives the command, other another one of the same sort.
	do, other func(ledger.Command) (*ledger.Result, error)
	// about is the subject of its refusal; zero if that is about the actor.
	about events.ID
}

// commands are all that make an event of their own and can be repeated.
var commands = map[string]struct {
	who      func(*clinic) ledger.Command
	intruder func(*clinic) ledger.Command
	reason   string // why the intruder is refused
	makes    events.Type
	prepare  func(*clinic) deed
}{
	"register": {admin, doctor, decision.RefusedRole, events.TypeActorRegistered, func(c *clinic) deed {
		as := func(role events.Role) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.Register(context.Background(), who, ledger.Registration{Role: role})
			}
		}
		return deed{as(events.RoleNurse), as(events.RoleClerk), events.ID{}}
	}},
	"issue a token": {admin, nurse, decision.RefusedRole, events.TypeTokenIssued, func(c *clinic) deed {
		until := c.in(time.Hour)
		to := func(actor ledger.Command) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				r, _, err := c.IssueToken(context.Background(), who, actor.Actor, until)
				return r, err
			}
		}
		return deed{to(c.nurse), to(c.clerk), events.ID{}}
	}},
	"revoke a token": {admin, doctor, decision.RefusedRole, events.TypeTokenRevoked, func(c *clinic) deed {
		revoke := func() func(ledger.Command) (*ledger.Result, error) {
			r, _, err := c.IssueToken(context.Background(), c.admin, c.nurse.Actor, c.in(time.Hour))
			token := tokenOf(c.must(r, err))
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.RevokeToken(context.Background(), who, c.nurse.Actor, token)
			}
		}
		return deed{revoke(), revoke(), events.ID{}}
	}},
	"register a patient": {clerk, recipient, decision.RefusedRole, events.TypePatientRegistered, func(c *clinic) deed {
		register := func(ids []ledger.Identifier) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.RegisterPatient(context.Background(), who, ids)
			}
		}
		return deed{register(identifiers()), register(identifiers()), events.ID{}}
	}},
	"merge": {clerk, nurse, decision.RefusedRole, events.TypePatientMerged, func(c *clinic) deed {
		one, two := c.newPatient(), c.newPatient()
		merge := func(patient, into events.ID) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.MergePatients(context.Background(), who, patient, into)
			}
		}
		return deed{merge(one, two), merge(two, one), one}
	}},
	"open care": {clerk, foreign, decision.RefusedOrganisation, events.TypeCareOpened, func(c *clinic) deed {
		open := func(care ledger.Care) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) { return c.OpenCare(context.Background(), who, care) }
		}
		return deed{
			open(ledger.Care{Patient: c.subject, Member: c.nurse.Actor}),
			open(ledger.Care{Patient: c.subject, Department: c.ward}), c.subject,
		}
	}},
	"close care": {clerk, outsider, decision.RefusedOrganisation, events.TypeCareClosed, func(c *clinic) deed {
		shut := func() func(ledger.Command) (*ledger.Result, error) {
			care := relationship(c.must(c.OpenCare(context.Background(), c.clerk, ledger.Care{Patient: c.subject, Department: c.ward})))
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.CloseCare(context.Background(), who, c.subject, care)
			}
		}
		return deed{shut(), shut(), c.subject}
	}},
	"appoint a proxy": {patientAccount, outsider, decision.RefusedOrganisation, events.TypeProxyAppointed, func(c *clinic) deed {
		appoint := func(scope ...events.ProxyScope) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.AppointProxy(context.Background(), who, ledger.Appointment{Patient: c.subject, Proxy: c.proxy.Actor, Scope: scope})
			}
		}
		return deed{appoint(events.ProxyRead), appoint(events.ProxyConsents), c.subject}
	}},
	"dismiss a proxy": {patientAccount, doctor, decision.RefusedRole, events.TypeProxyDismissed, func(c *clinic) deed {
		dismiss := func() func(ledger.Command) (*ledger.Result, error) {
			a := appointment(c.must(c.AppointProxy(context.Background(), c.clerk, c.fullProxy(c.subject))))
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.DismissProxy(context.Background(), who, c.subject, a)
			}
		}
		return deed{dismiss(), dismiss(), c.subject}
	}},
	"grant a consent": {patientAccount, nurse, decision.RefusedRole, events.TypeConsentGranted, func(c *clinic) deed {
		grant := func(p events.Purpose) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.GrantConsent(context.Background(), who, c.subject, p)
			}
		}
		return deed{grant(events.PurposeResearch), grant(events.PurposePayment), c.subject}
	}},
	"withdraw a consent": {proxy, foreign, decision.RefusedOrganisation, events.TypeConsentWithdrawn, func(c *clinic) deed {
		withdraw := func() func(ledger.Command) (*ledger.Result, error) {
			granted := consent(c.must(c.GrantConsent(context.Background(), c.clerk, c.subject, events.PurposeResearch)))
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.WithdrawConsent(context.Background(), who, c.subject, granted, "")
			}
		}
		return deed{withdraw(), withdraw(), c.subject}
	}},
	"withdraw what was implied": {clerk, recipient, decision.RefusedRole, events.TypeConsentWithdrawn, func(c *clinic) deed {
		withdraw := func(p events.Purpose) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.WithdrawConsent(context.Background(), who, c.subject, events.ID{}, p)
			}
		}
		return deed{withdraw(events.PurposeResearch), withdraw(events.PurposePayment), c.subject}
	}},
	"originate": {doctor, clerk, decision.RefusedRole, events.TypeRecordOriginated, func(c *clinic) deed {
		originate := func(content string) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.Originate(context.Background(), who, c.origination(), strings.NewReader(content))
			}
		}
		return deed{originate("one"), originate("two"), events.ID{}}
	}},
	"amend": {nurse, foreign, decision.RefusedOrganisation, events.TypeRecordAmended, func(c *clinic) deed {
		record := c.record("first")
		amend := func(content string) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.Amend(context.Background(), who, ledger.Amendment{Record: record}, strings.NewReader(content))
			}
		}
		return deed{amend("one"), amend("two"), record}
	}},
	"refile": {clerk, outsider, decision.RefusedOrganisation, events.TypeRecordRefiled, func(c *clinic) deed {
		record := c.record("x")
		refile := func(patient events.ID) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.Refile(context.Background(), who, record, patient)
			}
		}
		return deed{refile(c.newPatient()), refile(c.newPatient()), record}
	}},
	"disclose": {doctor, nurse, decision.RefusedRole, events.TypeRecordDisclosed, func(c *clinic) deed {
		d := c.disclosure(c.record("x"))
		disclose := func(purpose events.Purpose) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				d := d
				d.Purpose = purpose
				return c.Disclose(context.Background(), who, d)
			}
		}
		return deed{disclose(events.PurposeTreatment), disclose(events.PurposeLegal), d.Record}
	}},
	"acknowledge": {recipient, doctor, decision.RefusedRole, events.TypeShareAcknowledged, func(c *clinic) deed {
		record := c.record("x")
		acknowledge := func() func(ledger.Command) (*ledger.Result, error) {
			share := c.share(record)
			c.drain(c.opened(c.Receive(context.Background(), c.recipient, share)))
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.AcknowledgeShare(context.Background(), who, share)
			}
		}
		return deed{acknowledge(), acknowledge(), record}
	}},
	"end a share": {recipient, nurse, decision.RefusedRole, events.TypeShareEnded, func(c *clinic) deed {
		record := c.record("x")
		end := func() func(ledger.Command) (*ledger.Result, error) {
			share := c.share(record)
			return func(who ledger.Command) (*ledger.Result, error) { return c.EndShare(context.Background(), who, share) }
		}
		return deed{end(), end(), record}
	}},
	"ask for a destruction": {proxy, outsider, decision.RefusedOrganisation, events.TypeDestructionRequested, func(c *clinic) deed {
		record := c.record("x")
		ask := func(g events.Ground) func(ledger.Command) (*ledger.Result, error) {
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.RequestDestruction(context.Background(), who, record, g)
			}
		}
		return deed{ask(events.GroundPatientRequest), ask(events.GroundPurposeEnded), record}
	}},
	"approve a destruction": {admin, clerk, decision.RefusedRole, events.TypeRecordDestroyed, func(c *clinic) deed {
		c.record("the patient's last one is another")
		var records []events.ID
		approve := func() func(ledger.Command) (*ledger.Result, error) {
			record := c.record("x")
			records = append(records, record)
			requested := doom(c.must(c.RequestDestruction(context.Background(), c.patient, record, events.GroundPatientRequest)))
			return func(who ledger.Command) (*ledger.Result, error) {
				return c.ApproveDestruction(context.Background(), who, requested)
			}
		}
		do, other := approve(), approve()
		return deed{do, other, records[0]}
	}},
}

func admin(c *clinic) ledger.Command          { return c.admin }
func doctor(c *clinic) ledger.Command         { return c.doctor }
func nurse(c *clinic) ledger.Command          { return c.nurse }
func clerk(c *clinic) ledger.Command          { return c.clerk }
func patientAccount(c *clinic) ledger.Command { return c.patient }
func proxy(c *clinic) ledger.Command          { return c.proxy }
func recipient(c *clinic) ledger.Command      { return c.recipient }
func foreign(c *clinic) ledger.Command        { return c.foreign }
func outsider(c *clinic) ledger.Command       { return c.outsider }

// TestCommands gives every command as somebody who may and as somebody who may
// not, again and again.
func TestCommands(t *testing.T) {
	for name, command := range commands {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClinic(t)
			d := command.prepare(c)
			c.refusedAbout(d, command.intruder(c), command.reason)

			first := c.must(d.do(keyed(command.who(c), "once")))
			if first.Event.Type != command.makes || first.Event.Actor() != command.who(c).Actor && command.makes != events.TypeRecordDestroyed {
				t.Errorf("it became a %s of %v", first.Event.Type, first.Event.Actor())
			}
			if _, err := c.AcknowledgeShare(t.Context(), keyed(command.who(c), "once"), events.MustNewID()); !errors.Is(err, ledger.ErrKeyReused) {
				t.Errorf("a command of another sort under its key: %v", err)
			}
			for _, when := range []string{"at once", "after a restart"} {
				c.repeats(d, keyed(command.who(c), "once"), first, when)
				c.restart()
			}
			c.atOnce(command.prepare(c), keyed(command.who(c), "together"))
		})
	}
}

// refusedAbout expects an intruder to be refused, once for every key.
func (c *clinic) refusedAbout(d deed, intruder ledger.Command, reason string) {
	c.t.Helper()
	_, err := d.do(keyed(intruder, "intrusion"))
	refusal := c.refused(err, reason)
	about := d.about
	if about.IsZero() {
		about = intruder.Actor
	}
	if refusal.Event.Subject != about || refusal.Event.Actor() != intruder.Actor {
		c.t.Errorf("the refusal of %v is about %v, want %v", refusal.Event.Actor(), refusal.Event.Subject, about)
	}
	size := c.size()
	_, err = d.do(keyed(intruder, "intrusion"))
	if again := c.refused(err, reason); again.Index != refusal.Index || c.size() != size {
		c.t.Errorf("repeated, it is refused again as event %d", again.Index)
	}
}

// repeats expects a command that was given to be answered as the first time, and
// another one under its key not to happen.
func (c *clinic) repeats(d deed, who ledger.Command, first *ledger.Result, when string) {
	c.t.Helper()
	size := c.size()
	again := c.must(d.do(who))
	if again.Index != first.Index || !bytes.Equal(again.Statement, first.Statement) {
		c.t.Errorf("%s: repeated as event %d, not %d", when, again.Index, first.Index)
	}
	if _, err := d.other(who); !errors.Is(err, ledger.ErrKeyReused) {
		c.t.Errorf("%s: another command under its key: %v", when, err)
	}
	if c.size() != size {
		c.t.Errorf("%s: the repetitions made %d events", when, c.size()-size)
	}
}

// atOnce gives a command many times at the same moment: it happens once.
func (c *clinic) atOnce(d deed, who ledger.Command) {
	c.t.Helper()
	results := make([]*ledger.Result, 8)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			var err error
			if results[i], err = d.do(who); err != nil {
				c.t.Errorf("beside its like: %v", err)
			}
		})
	}
	wg.Wait()
	for _, r := range results {
		if c.t.Failed() || r.Index != results[0].Index {
			c.t.Fatal("given at once, it happened more than once")
		}
	}
}

// TestRefusalUnderTheKeyOfAnother: what was refused about one patient is no answer
// to what is asked about another.
func TestRefusalUnderTheKeyOfAnother(t *testing.T) {
	c := newClinic(t)
	who := keyed(c.outsider, "k")
	_, err := c.GrantConsent(t.Context(), who, c.subject, events.PurposeResearch)
	c.refused(err, decision.RefusedOrganisation)
	if _, err := c.GrantConsent(t.Context(), who, c.newPatient(), events.PurposeResearch); !errors.Is(err, ledger.ErrKeyReused) {
		t.Errorf("a refusal about one patient answers a command about another: %v", err)
	}
	_, err = c.GrantConsent(t.Context(), who, c.subject, events.PurposeResearch)
	c.refused(err, decision.RefusedOrganisation)
}

// TestEndedByAnother: under the key of the end of one patient's relationship nothing
// of another patient ends.
func TestEndedByAnother(t *testing.T) {
	c := newClinic(t)
	other := c.newPatient()
	c.must(c.CloseCare(t.Context(), keyed(c.clerk, "c"), c.subject, c.care))
	if _, err := c.CloseCare(t.Context(), keyed(c.clerk, "c"), other, c.care); !errors.Is(err, ledger.ErrKeyReused) {
		t.Errorf("care of another patient: %v", err)
	}
	c.must(c.DismissProxy(t.Context(), keyed(c.clerk, "p"), c.subject, c.appointment))
	if _, err := c.DismissProxy(t.Context(), keyed(c.clerk, "p"), other, c.appointment); !errors.Is(err, ledger.ErrKeyReused) {
		t.Errorf("a proxy of another patient: %v", err)
	}
}

// TestKeyTakenMeanwhile: while a content or a patient's identifiers are being kept,
// another command takes the key. Its event is no answer.
func TestKeyTakenMeanwhile(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	for name, do := range map[string]func(ledger.Command) (*ledger.Result, error){
		"register": func(who ledger.Command) (*ledger.Result, error) {
			return c.RegisterPatient(context.Background(), who, identifiers())
		},
		"originate": func(who ledger.Command) (*ledger.Result, error) {
			return c.Originate(context.Background(), who, c.origination(), strings.NewReader("y"))
		},
		"amend": func(who ledger.Command) (*ledger.Result, error) {
			return c.Amend(context.Background(), who, ledger.Amendment{Record: record}, strings.NewReader("y"))
		},
	} {
		who := keyed(c.doctor, name)
		var result *ledger.Result
		var err error
		c.whileDecided(func() { result, err = do(who) }, func() {
			c.must(c.WithdrawConsent(t.Context(), who, c.subject, events.ID{}, events.PurposeResearch))
		})
		if result != nil || !errors.Is(err, ledger.ErrKeyReused) {
			t.Errorf("%s: answered %v, %v", name, result != nil, err)
		}
	}
	c.must(c.Amend(t.Context(), c.doctor, ledger.Amendment{Record: record}, strings.NewReader("z")))
}

// TestMergeWithOneself under the key of a merge is another command.
func TestMergeWithOneself(t *testing.T) {
	c := newClinic(t)
	other := c.newPatient()
	who := keyed(c.clerk, "m")
	c.must(c.MergePatients(t.Context(), who, other, c.subject))
	if _, err := c.MergePatients(t.Context(), who, other, other); !errors.Is(err, ledger.ErrKeyReused) {
		t.Error(err)
	}
}
