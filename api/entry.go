package api

import (
	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// entryOf tells in a list what an event says. Index, role, organisation and
// receipt are not in the event.
func entryOf(e events.Event) client.Entry {
	entry := client.Entry{
		Event: e.ID, Time: e.Time.Time(), Type: e.Type, Actor: e.Actor(), Outcome: client.OutcomeDone,
	}
	if e.Stream() == events.RecordStream(e.Subject) {
		entry.Record = e.Subject
	}
	switch d := e.Data.(type) {
	case *events.RecordOriginated:
		entry.Version = 1
	case *events.RecordAmended:
		entry.Version = d.Version
	case *events.RecordAccessed:
		entry.Outcome, entry.Purpose, entry.Version = client.OutcomeReleased, d.Purpose, d.Version
	case *events.RecordDisclosed:
		entry.Outcome, entry.Purpose, entry.Version = client.OutcomeDisclosed, d.Purpose, d.Version
		entry.Recipient, entry.Share = d.Recipient, d.Share
	case *events.RecordReceived:
		entry.Outcome, entry.Version = client.OutcomeReleased, d.Version
		entry.Recipient, entry.Share = d.Actor, d.Share
	case *events.ShareAcknowledged:
		entry.Recipient, entry.Share = d.Actor, d.Share
	case *events.ShareEnded:
		entry.Share = d.Share
	case *events.HistoryRead:
		entry.Outcome = client.OutcomeAnswered
	case *events.PatientQueried:
		entry.Outcome, entry.Purpose, entry.Query = client.OutcomeAnswered, d.Purpose, d.Query
	case *events.DeliveryFailed:
		entry.Outcome, entry.Reason, entry.Release = client.OutcomeNotDelivered, string(d.Reason), d.Release
	case *events.AccessRefused:
		entry.Outcome, entry.Reason, entry.Action = client.OutcomeRefused, d.Decision.Rule, d.Action
		entry.Purpose, entry.Share = d.Purpose, d.Share
	}
	return entry
}
