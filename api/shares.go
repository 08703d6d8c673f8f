package api

import (
	"net/http"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

func (c *call) share() error {
	var in client.ShareRequest
	if err := c.json(&in); err != nil {
		return err
	}
	until, err := moment(in.Until)
	if err != nil {
		return err
	}
	result, err := c.h.Ledger.Disclose(c.Context(), c.command, ledger.Disclosure{
		Record: c.path["record"], Version: in.Version, Recipient: in.Recipient, Purpose: in.Purpose, Until: until,
	})
	if err != nil {
		return err
	}
	return c.created(result.Event.Data.(*events.RecordDisclosed).Share, result)
}

func (c *call) acknowledge() error {
	return c.finish(c.h.Ledger.AcknowledgeShare(c.Context(), c.command, c.path["share"]))
}

func (c *call) endShare() error {
	return c.finish(c.h.Ledger.EndShare(c.Context(), c.command, c.path["share"]))
}

func (c *call) requestDestruction() error {
	var in client.DestructionRequest
	if err := c.json(&in); err != nil {
		return err
	}
	if in.Ground == "" {
		if c.who.Role != events.RolePatient && c.who.Role != events.RoleProxy {
			return &problem{Status: http.StatusBadRequest, Detail: "the member ground is missing"}
		}
		in.Ground = events.GroundPatientRequest
	}
	result, err := c.h.Ledger.RequestDestruction(c.Context(), c.command, c.path["record"], in.Ground)
	if err != nil {
		return err
	}
	return c.created(result.Event.Data.(*events.DestructionRequested).Destruction, result)
}

func (c *call) pendingDestructions() error {
	pending, err := c.h.Ledger.PendingDestructions(c.Context(), c.command)
	if err != nil {
		return err
	}
	out := client.PendingDestructions{Requests: make([]client.PendingDestruction, len(pending))}
	for i, p := range pending {
		out.Requests[i] = client.PendingDestruction{
			ID: p.Destruction, Record: p.Record, Kind: p.Kind, Requester: p.Requester, Ground: p.Ground,
		}
	}
	return sendJSON(c.w, http.StatusOK, out)
}

func (c *call) approveDestruction() error {
	result, err := c.h.Ledger.ApproveDestruction(c.Context(), c.command, c.path["destruction"])
	if err != nil {
		return err
	}
	destroyed := result.Event.Data.(*events.RecordDestroyed)
	out := client.Destroyed{Record: result.Event.Subject, Keys: destroyed.Keys, Custody: destroyed.Custody}
	if out.Done, err = done(c.Context(), result); err != nil {
		return err
	}
	name(c.w, result)
	return sendJSON(c.w, http.StatusOK, out)
}
