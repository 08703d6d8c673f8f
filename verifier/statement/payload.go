package statement

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/jcs"
)

// payload is a CloudEvents event as encoding/json reads it.
type payload struct {
	Causation   events.ID        `json:"causationid"`
	Correlation events.ID        `json:"correlationid"`
	Data        json.RawMessage  `json:"data"`
	ID          events.ID        `json:"id"`
	Source      string           `json:"source"`
	Subject     events.ID        `json:"subject"`
	Time        events.Timestamp `json:"time"`
	Type        events.Type      `json:"type"`
}

// encodeEvent returns the payload of an event that passes its Check.
func encodeEvent(e events.Event) ([]byte, error) {
	data, err := json.Marshal(e.Data)
	if err != nil {
		return nil, fmt.Errorf("encoding the data of %s: %w", e.Type, err)
	}
	// The fields of data are declared in the order of their names, so this is
	// canonical unless an integer is not exact in a double. It is checked and not
	// canonicalized, which would round that integer.
	if err := jcs.Check(data); err != nil {
		return nil, fmt.Errorf("data of %s: %w: %w", e.Type, events.ErrInvalid, err)
	}
	when, err := e.Time.MarshalText()
	if err != nil {
		return nil, err
	}
	// No value below can hold a character that JSON would escape: an id, the
	// name of a known type, a checked origin, a time.
	b := make([]byte, 0, len(data)+512)
	b = append(b, '{')
	if !e.Causation.IsZero() {
		b = append(e.Causation.AppendText(append(b, `"causationid":"`...)), `",`...)
	}
	if !e.Correlation.IsZero() {
		b = append(e.Correlation.AppendText(append(b, `"correlationid":"`...)), `",`...)
	}
	b = append(append(b, `"data":`...), data...)
	b = append(append(b, `,"dataschema":"`...), e.Type.Schema()...)
	b = e.ID.AppendText(append(b, `","id":"`...))
	b = append(append(b, `","source":"`...), e.Source...)
	b = append(b, `","specversion":"1.0"`...)
	b = e.Subject.AppendText(append(b, `,"subject":"`...))
	b = append(append(b, `","time":"`...), when...)
	b = append(append(b, `","type":"`...), e.Type...)
	return append(b, `"}`...), nil
}

// decodeEvent reads a payload. It accepts what encodeEvent writes and nothing
// else, so whatever it had overlooked on the way shows in the comparison.
func decodeEvent(text []byte) (events.Event, error) {
	e, ok := cutPayload(text)
	if !ok || e.Check() != nil {
		return events.Event{}, explainPayload(text)
	}
	again, err := encodeEvent(e)
	if err != nil || !bytes.Equal(again, text) {
		return events.Event{}, explainPayload(text)
	}
	return e, nil
}

// As with the frame, cutPayload is the fast reader of the one accepted form;
// explainPayload runs only on what decodeEvent refuses, to find the error.

// cutPayload takes a payload apart at the places where encodeEvent puts it
// together. It may take other texts for a payload, but it finds every part of
// one that encodeEvent wrote: no value after data has a quote in it.
func cutPayload(text []byte) (events.Event, bool) {
	head, tail, ok := cutLast(text, `,"dataschema":"`)
	if !ok {
		return events.Event{}, false
	}
	var v [6][]byte // dataschema, id, source, subject, time, type
	for i, end := range [...]string{`","id":"`, `","source":"`, `","specversion":"1.0","subject":"`, `","time":"`, `","type":"`, `"}`} {
		if v[i], tail, ok = bytes.Cut(tail, []byte(end)); !ok {
			return events.Event{}, false
		}
	}
	e := events.Event{Source: string(v[2]), Type: events.Type(v[5])}
	head, ok = bytes.CutPrefix(head, []byte("{"))
	ok = ok && e.ID.UnmarshalText(v[1]) == nil && e.Subject.UnmarshalText(v[3]) == nil && e.Time.UnmarshalText(v[4]) == nil
	ok = ok && cutOptional(&head, `"causationid":"`, &e.Causation) && cutOptional(&head, `"correlationid":"`, &e.Correlation)
	head, found := bytes.CutPrefix(head, []byte(`"data":`))
	if !ok || !found {
		return events.Event{}, false
	}
	var err error
	if e.Data, err = events.New(e.Type); err != nil {
		return events.Event{}, false
	}
	return e, json.Unmarshal(head, e.Data) == nil
}

// cutOptional takes the member with the given beginning off the front of head,
// if it is there.
func cutOptional(head *[]byte, begin string, id *events.ID) bool {
	value, ok := bytes.CutPrefix(*head, []byte(begin))
	if !ok {
		return true
	}
	value, rest, ok := bytes.Cut(value, []byte(`",`))
	*head = rest
	return ok && id.UnmarshalText(value) == nil
}

func cutLast(text []byte, sep string) (before, after []byte, ok bool) {
	i := bytes.LastIndex(text, []byte(sep))
	if i < 0 {
		return nil, nil, false
	}
	return text[:i], text[i+len(sep):], true
}

// explainPayload says why decodeEvent refuses text. It never returns nil.
func explainPayload(text []byte) error {
	if err := jcs.Check(text); err != nil {
		if errors.Is(err, jcs.ErrNotCanonical) {
			return fmt.Errorf("payload: %w: %w", ErrNotCanonical, err)
		}
		return fmt.Errorf("payload: %w: %w", ErrMalformed, err)
	}
	var p payload
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("payload: %w: %w", ErrMalformed, err)
	}
	data, err := events.New(p.Type)
	if err != nil {
		return err
	}
	if len(p.Data) > 0 {
		if err := json.Unmarshal(p.Data, data); err != nil {
			return fmt.Errorf("data of %s: %w: %w", p.Type, ErrMalformed, err)
		}
	}
	e := events.Event{
		ID: p.ID, Source: p.Source, Type: p.Type, Subject: p.Subject, Time: p.Time,
		Correlation: p.Correlation, Causation: p.Causation, Data: data,
	}
	if err := e.Check(); err != nil {
		return err
	}
	again, err := encodeEvent(e)
	if err != nil {
		return err
	}
	// encoding/json lets much pass: unknown names, names in another case, null.
	return fmt.Errorf("payload of %s differs from its event's at byte %d (a member that is unknown, empty, missing or in the wrong case): %w",
		p.Type, firstDifference(again, text), ErrNotCanonical)
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
