package decision

import (
	"maps"
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// Decide1 decides by the rules that only replay by now.
func Decide1(s *life.State, r Request) Outcome { return decide1(s, r) }

// Untold returns the reasons for a refusal of an action that are taken at their
// word.
func Untold(a events.Action) []string { return untold2[a] }

// Actions returns every action that some rule knows, in order.
func Actions() []events.Action { return slices.Sorted(maps.Keys(rules2)) }
