package decision

import (
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// Decide1 decides by the rules that only replay by now.
func Decide1(s *life.State, r Request) Outcome { return decide1(s, r) }

// Untold returns the reasons for a refusal of an action that are taken at their
// word.
func Untold(a events.Action) []string { return untold2[a] }

// Actions returns every action that some rule knows.
func Actions() []events.Action {
	var actions []events.Action
	for a := range rules2 {
		actions = append(actions, a)
	}
	return actions
}
