package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/verifier/proof"
)

// TestLimits holds the store's limit to that of the log's entry bundles, which
// hold the same statements.
func TestLimits(t *testing.T) {
	if store.MaxStatement != proof.MaxEntry {
		t.Errorf("a statement has %d bytes in the store and %d in the log", store.MaxStatement, proof.MaxEntry)
	}
}

func TestCheck(t *testing.T) {
	event := func(size int) store.Event {
		return store.Event{ID: events.MustNewID(), Statement: make([]byte, size)}
	}
	one := event(1)
	for name, test := range map[string]struct {
		a    store.Append
		want error
	}{
		"one event":         {store.Append{Stream: "s", Expected: store.Any, Events: []store.Event{one}}, nil},
		"the largest":       {store.Append{Stream: strings.Repeat("s", store.MaxStream), Expected: store.NoStream, Events: []store.Event{event(store.MaxStatement)}}, nil},
		"no stream":         {store.Append{Events: []store.Event{one}}, store.ErrInvalid},
		"a long stream":     {store.Append{Stream: strings.Repeat("s", store.MaxStream+1), Events: []store.Event{one}}, store.ErrTooLarge},
		"no events":         {store.Append{Stream: "s"}, store.ErrInvalid},
		"no id":             {store.Append{Stream: "s", Events: []store.Event{{Statement: []byte{1}}}}, store.ErrInvalid},
		"no statement":      {store.Append{Stream: "s", Events: []store.Event{event(0)}}, store.ErrInvalid},
		"a large statement": {store.Append{Stream: "s", Events: []store.Event{event(store.MaxStatement + 1)}}, store.ErrTooLarge},
		"an id twice":       {store.Append{Stream: "s", Events: []store.Event{one, one}}, store.ErrInvalid},
		"no such revision":  {store.Append{Stream: "s", Expected: -3, Events: []store.Event{one}}, store.ErrInvalid},
	} {
		if err := test.a.Check(); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}
