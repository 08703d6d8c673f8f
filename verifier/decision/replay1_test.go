package decision_test

import (
	"errors"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

func trace1(rule string) events.Decision {
	return events.Decision{Position: 7, Rule: rule, Rules: life.Rules1}
}

// TestReplayOfRules1 replays what stands in old logs.
func TestReplayOfRules1(t *testing.T) {
	refused := func(action events.Action, who string, purpose events.Purpose, reason string) events.Data {
		return &events.AccessRefused{Action: action, Actor: actor(who), Decision: trace1(reason), Purpose: purpose}
	}
	for name, test := range map[string]struct {
		subject events.ID
		data    events.Data
		right   bool
	}{
		"treatment":       {record, &events.RecordAccessed{Actor: actor("nurse"), Decision: trace1("treatment"), Purpose: events.PurposeTreatment, Version: 1}, true},
		"own record":      {record, &events.RecordAccessed{Actor: actor("patient"), Decision: trace1("own-record"), Purpose: events.PurposePatient, Version: 2}, true},
		"originated":      {id(50), &events.RecordOriginated{Actor: actor("nurse"), Decision: trace1("staff-originates"), Organisation: clinic}, true},
		"amended":         {record, &events.RecordAmended{Actor: actor("nurse"), Decision: trace1("staff-amends"), Version: 3}, true},
		"disclosed":       {record, &events.RecordDisclosed{Actor: actor("clerk"), Decision: trace1("staff-discloses"), Purpose: events.PurposePublic, Recipient: actor("recipient"), Until: now + 9, Version: 1}, true},
		"received":        {record, &events.RecordReceived{Actor: actor("recipient"), Decision: trace1("shared"), Share: open, Version: 1}, true},
		"destroyed":       {record, &events.DestructionStarted{Actor: actor("patient"), Approver: actor("admin"), Decision: trace1("two-persons"), Versions: 2}, true},
		"registered":      {id(51), &events.ActorRegistered{By: actor("admin"), Decision: trace1("administrator"), Role: events.RoleNurse}, true},
		"refused role":    {record, refused(events.ActionAccess, "auditor", events.PurposeTreatment, decision.RefusedRole), true},
		"refused record":  {actor("nurse"), refused(events.ActionAccess, "nurse", events.PurposeTreatment, decision.RefusedUnknownRecord), true},
		"refused version": {record, refused(events.ActionAccess, "nurse", events.PurposeTreatment, decision.RefusedUnknownVersion), true},
		"no decision":     {id(52), &events.KeyRotated{}, true},

		"a recipient reads":            {record, &events.RecordAccessed{Actor: actor("recipient"), Decision: trace1("treatment"), Purpose: events.PurposeTreatment, Version: 1}, false},
		"a clerk reads, says so":       {record, &events.RecordAccessed{Actor: actor("clerk"), Decision: trace1(decision.RefusedRole), Purpose: events.PurposeTreatment, Version: 1}, false},
		"a rule of one's own":          {record, &events.RecordAccessed{Actor: actor("nurse"), Decision: trace1("because-i-say-so"), Purpose: events.PurposeTreatment, Version: 1}, false},
		"another rule":                 {record, &events.RecordAccessed{Actor: actor("nurse"), Decision: trace1("own-record"), Purpose: events.PurposeTreatment, Version: 1}, false},
		"a wrong purpose":              {record, &events.RecordAccessed{Actor: actor("nurse"), Decision: trace1("treatment"), Purpose: events.PurposeResearch, Version: 1}, false},
		"an older state":               {record, &events.RecordAccessed{Actor: actor("nurse"), Decision: events.Decision{Position: 6, Rule: "treatment", Rules: life.Rules1}, Purpose: events.PurposeTreatment, Version: 1}, false},
		"kept elsewhere":               {id(50), &events.RecordOriginated{Actor: actor("nurse"), Decision: trace1("staff-originates"), Organisation: hospital}, false},
		"a patient registers":          {id(51), &events.ActorRegistered{By: actor("patient"), Decision: trace1("administrator"), Role: events.RoleAdmin}, false},
		"a second founder":             {id(51), &events.ActorRegistered{Decision: trace1(decision.Founding), Role: events.RoleAdmin}, false},
		"an ended share":               {record, &events.RecordReceived{Actor: actor("recipient"), Decision: trace1("shared"), Share: ended, Version: 1}, false},
		"approved by oneself":          {record, &events.DestructionStarted{Actor: actor("admin"), Approver: actor("admin"), Decision: trace1("two-persons"), Versions: 2}, false},
		"refused what is allowed":      {record, refused(events.ActionAccess, "nurse", events.PurposeTreatment, decision.RefusedRole), false},
		"refused for another reason":   {record, refused(events.ActionAccess, "auditor", events.PurposeTreatment, decision.RefusedPurpose), false},
		"refused for a reason made up": {record, refused(events.ActionAccess, "nurse", events.PurposeTreatment, "bad-hair-day"), false},
	} {
		e := events.Event{Type: test.data.EventType(), Subject: test.subject, Time: now, Data: test.data}
		err := decision.Replay(state(), 7, e)
		var wrong *decision.WrongError
		if test.right && err != nil || !test.right && !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReplayOfTheFounder(t *testing.T) {
	founder := events.Event{Time: now, Subject: id(51), Data: &events.ActorRegistered{Decision: trace1(decision.Founding), Role: events.RoleAdmin}}
	if err := decision.Replay(life.NewState(), 7, founder); err != nil {
		t.Error(err)
	}
}
