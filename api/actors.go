package api

import (
	"context"
	"net/http"
	"time"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/decision"
)

func (c *call) registerActor() error {
	var in client.Registration
	if err := c.json(&in); err != nil {
		return err
	}
	expires, err := c.expiry(in.Expires)
	if err != nil {
		return err
	}
	registration := ledger.Registration{Role: in.Role, Patient: in.Patient}
	// Names of others' making do not fill the directory; the ledger refuses them
	// in a moment.
	if c.mayAsk(events.ActionRegister) {
		if err := c.lives(expires); err != nil {
			return err
		}
		if (in.Role == events.RolePatient) == in.Patient.IsZero() {
			return &problem{Status: http.StatusUnprocessableEntity, Detail: "a patient's account names its patient, and no other does"}
		}
		if registration.Organisation, registration.Department, err = c.workplace(in); err != nil {
			return err
		}
	}
	registered, err := c.h.Ledger.Register(c.Context(), c.command, registration)
	if err != nil {
		return err
	}
	actor := registered.Event.Subject
	issued, secret, err := c.h.Ledger.IssueToken(c.Context(), c.step("token"), actor, expires)
	if err != nil {
		return err
	}
	data, token := registered.Event.Data.(*events.ActorRegistered), issued.Event.Data.(*events.TokenIssued)
	out := client.Registered{
		ID: actor, Organisation: data.Organisation, Department: data.Department,
		Token: secret, TokenShown: secret == "", TokenID: token.Token, Expires: token.Expires.Time(),
	}
	if out.Done, err = done(c.Context(), registered); err != nil {
		return err
	}
	name(c.w, registered)
	return sendJSON(c.w, http.StatusCreated, out)
}

// lives checks that a token that expires then can be issued to whom this call
// registers: else the ledger would know an actor without one, and nobody their id.
// A repeated call is answered also when its token has expired since.
func (c *call) lives(expires events.Timestamp) error {
	now := events.At(c.h.Clock())
	switch {
	case expires > now.Add(ledger.MaxTokenLifetime):
		return ledger.ErrLifetime
	case expires <= now && c.command.IdempotencyKey == "":
		p := told[decision.RefusedUntil]
		return &p
	}
	return nil
}

// expiry is when a token that is asked for expires.
func (c *call) expiry(asked time.Time) (events.Timestamp, error) {
	if asked.IsZero() {
		return events.At(c.h.Clock().Add(c.h.TokenLifetime)), nil
	}
	return moment(asked)
}

// workplace finds the ids of an organisation and a department, which are given as
// ids or names.
func (c *call) workplace(in client.Registration) (organisation, department events.ID, err error) {
	if in.Organisation == "" {
		organisation = c.who.Organisation
	} else if organisation, err = c.entry(in.Organisation, c.h.Ledger.Organisation); err != nil {
		return organisation, department, err
	}
	if in.Department != "" {
		department, err = c.entry(in.Department, func(ctx context.Context, name string) (events.ID, error) {
			return c.h.Ledger.Department(ctx, organisation, name)
		})
	}
	return organisation, department, err
}

// entry finds an entry of the directory by its id or its name.
func (c *call) entry(text string, named func(context.Context, string) (events.ID, error)) (events.ID, error) {
	id, err := events.ParseID(text)
	if err != nil {
		return named(c.Context(), text)
	}
	return id, c.listed(id)
}

// listed checks that an id is one of the directory: no other gets into the log.
func (c *call) listed(id events.ID) error {
	found, err := c.h.Ledger.NameOf(c.Context(), id)
	if err == nil && found == "" {
		err = &problem{Status: http.StatusUnprocessableEntity, Detail: "no organisation or department has this id; give its name to make it"}
	}
	return err
}

func (c *call) issueToken() error {
	var in client.TokenRequest
	if err := c.json(&in); err != nil {
		return err
	}
	expires, err := c.expiry(in.Expires)
	if err != nil {
		return err
	}
	issued, secret, err := c.h.Ledger.IssueToken(c.Context(), c.command, c.path["actor"], expires)
	if err != nil {
		return err
	}
	token := issued.Event.Data.(*events.TokenIssued)
	out := client.IssuedToken{ID: token.Token, Token: secret, TokenShown: secret == "", Expires: token.Expires.Time()}
	if out.Done, err = done(c.Context(), issued); err != nil {
		return err
	}
	name(c.w, issued)
	return sendJSON(c.w, http.StatusCreated, out)
}

func (c *call) listTokens() error {
	tokens, err := c.h.Ledger.Tokens(c.Context(), c.command, c.path["actor"])
	if err != nil {
		return err
	}
	out := client.Tokens{Tokens: make([]client.Token, len(tokens))}
	for i, t := range tokens {
		out.Tokens[i] = client.Token{ID: t.ID, Expires: t.Expires.Time(), Revoked: t.Revoked}
	}
	return sendJSON(c.w, http.StatusOK, out)
}

func (c *call) revokeToken() error {
	result, err := c.h.Ledger.RevokeToken(c.Context(), c.command, c.path["actor"], c.path["token"])
	if err != nil {
		return err
	}
	name(c.w, result)
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
