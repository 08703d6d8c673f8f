package api

import (
	"net/http"
	"time"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

// finish answers a command that made nothing with a name of its own.
func (c *call) finish(r *ledger.Result, err error) error {
	if err != nil {
		return err
	}
	out, err := done(c.Context(), r)
	if err != nil {
		return err
	}
	name(c.w, r)
	return sendJSON(c.w, http.StatusOK, out)
}

// created answers a command that made something.
func (c *call) created(id events.ID, r *ledger.Result) (err error) {
	out := client.Created{ID: id}
	if out.Done, err = done(c.Context(), r); err != nil {
		return err
	}
	name(c.w, r)
	return sendJSON(c.w, http.StatusCreated, out)
}

func (c *call) registerPatient() error {
	var in client.NewPatient
	if err := c.json(&in); err != nil {
		return err
	}
	ids := make([]ledger.Identifier, len(in.Identifiers))
	for i, id := range in.Identifiers {
		ids[i] = ledger.Identifier(id)
	}
	result, err := c.h.Ledger.RegisterPatient(c.Context(), c.command, ids)
	if err != nil {
		return err
	}
	return c.created(result.Event.Subject, result)
}

func (c *call) findPatient() error {
	purpose, err := c.purpose()
	if err != nil {
		return err
	}
	id := ledger.Identifier{System: c.query["system"], Value: c.query["value"]}
	result, err := c.h.Ledger.LookUpPatient(c.Context(), c.command, id, purpose)
	if err != nil {
		return err
	}
	name(c.w, result)
	return sendJSON(c.w, http.StatusOK, client.FoundPatient{ID: result.Event.Subject})
}

func (c *call) mergePatients() error {
	var in client.Merge
	if err := c.json(&in); err != nil {
		return err
	}
	return c.finish(c.h.Ledger.MergePatients(c.Context(), c.command, c.path["patient"], in.Into))
}

func (c *call) openCare() error {
	var in client.Care
	if err := c.json(&in); err != nil {
		return err
	}
	if in.Member.IsZero() == in.Department.IsZero() {
		return &problem{Status: http.StatusUnprocessableEntity, Detail: "a care relationship is with one member or with one department"}
	}
	if !in.Department.IsZero() && c.mayAsk(events.ActionOpenCare) {
		if err := c.listed(in.Department); err != nil {
			return err
		}
	}
	until, err := moment(in.Until)
	if err != nil {
		return err
	}
	result, err := c.h.Ledger.OpenCare(c.Context(), c.command, ledger.Care{
		Patient: c.path["patient"], Member: in.Member, Department: in.Department, Until: until,
	})
	if err != nil {
		return err
	}
	return c.created(result.Event.Data.(*events.CareOpened).Relationship, result)
}

func (c *call) closeCare() error {
	return c.finish(c.h.Ledger.CloseCare(c.Context(), c.command, c.path["patient"], c.path["relationship"]))
}

func (c *call) appointProxy() error {
	var in client.Appointment
	if err := c.json(&in); err != nil {
		return err
	}
	if len(in.Scope) == 0 {
		return &problem{Status: http.StatusUnprocessableEntity, Detail: "the scope is empty"}
	}
	until, err := moment(in.Until)
	if err != nil {
		return err
	}
	result, err := c.h.Ledger.AppointProxy(c.Context(), c.command, ledger.Appointment{
		Patient: c.path["patient"], Proxy: in.Proxy, Scope: in.Scope, Until: until,
	})
	if err != nil {
		return err
	}
	return c.created(result.Event.Data.(*events.ProxyAppointed).Appointment, result)
}

func (c *call) dismissProxy() error {
	return c.finish(c.h.Ledger.DismissProxy(c.Context(), c.command, c.path["patient"], c.path["appointment"]))
}

func (c *call) grantConsent() error {
	var in client.Consent
	if err := c.json(&in); err != nil {
		return err
	}
	result, err := c.h.Ledger.GrantConsent(c.Context(), c.command, c.path["patient"], in.Purpose)
	if err != nil {
		return err
	}
	return c.created(result.Event.Data.(*events.ConsentGranted).Consent, result)
}

func (c *call) withdrawConsent() error {
	return c.finish(c.h.Ledger.WithdrawConsent(c.Context(), c.command, c.path["patient"], c.path["consent"], ""))
}

func (c *call) withdrawImplied() error {
	purpose, err := c.purpose()
	if err != nil {
		return err
	}
	return c.finish(c.h.Ledger.WithdrawConsent(c.Context(), c.command, c.path["patient"], events.ID{}, purpose))
}

func (c *call) rights() error {
	purpose, err := c.purpose()
	if err != nil {
		return err
	}
	result, rights, err := c.h.Ledger.Rights(c.Context(), c.command, c.path["patient"], purpose)
	if err != nil {
		return err
	}
	out := client.Rights{
		CareRelationships: make([]client.CareRelationship, len(rights.Care)),
		Proxies:           make([]client.Proxy, len(rights.Proxies)),
		Consents:          make([]client.GivenConsent, len(rights.Consents)),
	}
	for i, r := range rights.Care {
		out.CareRelationships[i] = client.CareRelationship{
			ID: r.ID, Member: r.Member, Department: r.Department, Until: timeOf(r.Until), Closed: r.Closed,
		}
	}
	for i, p := range rights.Proxies {
		out.Proxies[i] = client.Proxy{ID: p.ID, Proxy: p.Proxy, Scope: p.Scope, Until: timeOf(p.Until), Dismissed: p.Dismissed}
	}
	for i, g := range rights.Consents {
		out.Consents[i] = client.GivenConsent{ID: g.ID, Purpose: g.Purpose, Withdrawn: g.Withdrawn}
	}
	name(c.w, result)
	return sendJSON(c.w, http.StatusOK, out)
}

// timeOf is a time as the wire has it; zero stays zero.
func timeOf(t events.Timestamp) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return t.Time()
}
