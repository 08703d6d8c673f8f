package vault

import (
	"bytes"
	"errors"
	"testing"

	"github.com/medledger/medledger/events"
)

// papers is the part of a story that is about documents.
type papers struct {
	patients  []events.ID
	places    []Place
	acked     map[Place]bool
	tried     map[Place]bool       // put or discarded without success
	destroyed map[keyName]bool     // acknowledged
	undead    map[keyName]struct{} // whose destruction failed
}

func newPapers() papers {
	p := papers{acked: map[Place]bool{}, tried: map[Place]bool{}, destroyed: map[keyName]bool{}, undead: map[keyName]struct{}{}}
	for i := range byte(3) {
		patient := events.ID{i + 1, 7}
		p.patients = append(p.patients, patient)
		p.places = append(p.places, Place{Identity, patient, events.ID{1}}, Place{Accounting, patient, events.ID{1}}, Place{Directory, events.ID{}, patient})
	}
	return p
}

func (p *papers) term(place Place) Term { return Term{place.Owner.String(), place.ID.String()} }

func (p *papers) content(place Place) []byte { return pattern(50 + int(place.Owner[0])) }

// play puts nine documents, discards two, and destroys a patient and another
// one's accounting.
func (p *papers) play(v *Vault) {
	for _, place := range p.places {
		if _, err := v.PutDocument(ctx, place, p.content(place), p.term(place)); err == nil {
			p.acked[place] = true
		} else {
			p.tried[place] = true
		}
	}
	for _, place := range []Place{p.places[0], p.places[2]} {
		if !p.acked[place] {
			continue
		}
		if err := v.DiscardDocument(ctx, place); err == nil {
			delete(p.acked, place)
		} else {
			p.tried[place] = true
		}
	}
	_, err := v.DestroyPatient(ctx, p.patients[1])
	p.dead(keyName{patientKey, p.patients[1]}, err)
	_, err = v.destroyDocuments(ctx, keyName{accountingKey, p.patients[2]})
	p.dead(keyName{accountingKey, p.patients[2]}, err)
}

func (p *papers) dead(name keyName, err error) {
	if err != nil {
		p.undead[name] = struct{}{}
		return
	}
	p.destroyed[name] = true
	for place := range p.acked {
		if place.name() == name {
			delete(p.acked, place)
		}
	}
}

// judge holds a vault that was opened again and collected to what was
// acknowledged, and completes what was begun.
func (p *papers) judge(t *testing.T, v *Vault) {
	t.Helper()
	for _, place := range p.places {
		p.judgeDocument(t, v, place)
	}
	for i, patient := range p.patients {
		_, err := v.DestroyPatient(ctx, patient)
		_, err2 := v.destroyDocuments(ctx, keyName{accountingKey, patient})
		if err := errors.Join(err, err2); err != nil {
			t.Errorf("destruction after the fault: %v", err)
		}
		for _, place := range p.places[3*i : 3*i+2] {
			if _, err := v.Document(ctx, place); !errors.Is(err, ErrDestroyed) {
				t.Errorf("%+v was destroyed: %v", place, err)
			}
		}
	}
}

func (p *papers) judgeDocument(t *testing.T, v *Vault, place Place) {
	t.Helper()
	doc, err := v.Document(ctx, place)
	found, findErr := v.Find(ctx, place.Space, p.term(place))
	whole := err == nil && bytes.Equal(doc, p.content(place)) && findErr == nil && found == place
	absent := (errors.Is(err, ErrNotFound) || errors.Is(err, ErrDestroyed)) && errors.Is(findErr, ErrNotFound)
	_, undead := p.undead[place.name()]
	switch {
	case p.destroyed[place.name()]:
		if !absent || !errors.Is(err, ErrDestroyed) {
			t.Errorf("%+v is destroyed: %v; %+v, %v", place, err, found, findErr)
		}
	case p.acked[place] && (p.tried[place] || undead):
		if !whole && !absent {
			t.Errorf("%+v: %v; %+v, %v", place, err, found, findErr)
		}
	case p.acked[place]:
		if !whole {
			t.Errorf("%+v was acknowledged: %v; %+v, %v", place, err, found, findErr)
		}
	default:
		if !absent {
			t.Errorf("%+v was never acknowledged, or discarded: %v; %+v, %v", place, err, found, findErr)
		}
	}
}
