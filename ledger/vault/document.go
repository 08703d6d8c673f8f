package vault

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/commitment"
)

const (
	// MaxDocument is the size of the largest document in bytes.
	MaxDocument = 64 << 10

	documentContext = "medledger/vault/document/v1\x00"
)

// Space says what a document is, and with it under whose key it lies. The
// numbers are part of the format.
type Space uint8

const (
	// Identity is for who a patient is. It dies with DestroyPatient.
	Identity Space = 1
	// Accounting is for what disclosure accounting must keep of a patient for
	// its legal time. It survives DestroyPatient; nothing destroys it yet.
	Accounting Space = 2
	// Directory is for who acts: clinicians, departments, agencies. Its key is
	// the ledger's.
	Directory Space = 3
)

// Place is where a document lies.
type Place struct {
	Space Space
	// Owner is the patient for Identity and Accounting, zero for Directory.
	Owner events.ID
	ID    events.ID
}

// name returns the name of the key that a place lies under.
func (p Place) name() keyName {
	return keyName{map[Space]keyKind{Identity: patientKey, Accounting: accountingKey, Directory: directoryKey}[p.Space], p.Owner}
}

func (p Place) check() error {
	known := p.Space >= Identity && p.Space <= Directory
	if !known || p.ID.IsZero() || p.Owner.IsZero() != (p.Space == Directory) {
		return fmt.Errorf("a document's place in space %d wants an id, and an owner unless it is the directory: %w", p.Space, ErrInvalid)
	}
	return nil
}

// PutDocument stores a document and the terms by which Find finds it, encrypted,
// and returns the commitment to it. Both are durable when it returns, in one
// write with what is put at the same moment.
//
// Errors: ErrExists if there is a document in the place, a *TakenError if a term
// leads to another document of the space, ErrDestroyed if the owner's documents
// were destroyed, ErrInvalid: none of them leaves anything. After ErrStopped the
// document may or may not be there; Collect asks about it.
func (v *Vault) PutDocument(ctx context.Context, p Place, doc []byte, terms ...Term) (sum [commitment.Size]byte, err error) {
	if err := v.enter(ctx); err != nil {
		return sum, err
	}
	defer v.leave()
	if err := p.check(); err != nil {
		return sum, err
	}
	if len(doc) > MaxDocument {
		return sum, fmt.Errorf("document of %d bytes, at most %d are allowed: %w", len(doc), MaxDocument, ErrInvalid)
	}
	digests, err := v.ledger.digests(p.Space, terms)
	if err != nil {
		return sum, err
	}
	use, err := v.active.read(p.name(), 0)
	if err != nil {
		return sum, err
	}
	defer use.end(ErrClosed)
	plain := make([]byte, commitment.SaltSize, commitment.SaltSize+len(doc))
	if _, err := io.ReadFull(v.cfg.Random, plain); err != nil {
		return sum, fmt.Errorf("reading randomness for a salt: %w", err)
	}
	c := commitment.New([commitment.SaltSize]byte(plain))
	c.Write(doc)
	plain = append(plain, doc...)
	defer clear(plain)
	req := &request{op: opPutDocument, doc: &documentRow{place: p, digests: digests}}
	if err := v.commitDocument(ctx, use, req, plain); err != nil {
		return sum, err
	}
	return c.Sum(), nil
}

// commitDocument seals a document under its owner's key and hands it to the
// committing goroutine, once more if the key has changed meanwhile.
func (v *Vault) commitDocument(ctx context.Context, use *reader, req *request, plain []byte) error {
	for {
		key, err := v.keyToPut(ctx, use, req)
		if err != nil {
			return err
		}
		req.doc.sealed, err = sealDocument(key, req.doc.place, plain, v.cfg.Random)
		if err == nil {
			err = v.submit(req)
		}
		clear(key[:])
		if !errors.Is(err, errKeyChanged) {
			return err
		}
		v.named.drop(req.doc.place.name())
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// keyToPut returns the key that a document is to lie under, or draws one if its
// owner has none.
func (v *Vault) keyToPut(ctx context.Context, use *reader, req *request) (key *[keySize]byte, err error) {
	name := req.doc.place.name()
	req.fresh, req.key = nil, 0
	var opened [keySize]byte
	err = retryKey(func() (s slot, err error) {
		var proof []byte
		if s, proof, err = v.keys.lookupKey(ctx, name); err == nil {
			req.key = s
			opened, err = v.openNamed(ctx, use, s, proof)
		}
		return s, err
	})
	if errors.Is(err, ErrNotFound) {
		req.key = 0
		req.fresh, err = newKeyBytes(v.cfg.Random)
		return req.fresh, err
	}
	if err != nil {
		return nil, use.unopenedDocument(req.doc.place, err)
	}
	return &opened, nil
}

// openNamed opens the key of use's name, and remembers it unless the key was
// destroyed meanwhile.
func (v *Vault) openNamed(ctx context.Context, use *reader, s slot, proof []byte) (key [keySize]byte, err error) {
	if key, ok := v.named.get(use.name, s); ok {
		return key, nil
	}
	if key, err = v.keys.namedKey(ctx, use.name, s, proof); err != nil {
		return key, err
	}
	// A destruction ends use first and then empties the cache.
	use.mu.Lock()
	defer use.mu.Unlock()
	if use.err == nil {
		v.named.put(use.name, s, &key)
	}
	return key, nil
}

// retryKey looks up a slot and opens its key, again if the slot is empty. Where a
// row was read just before its key was destroyed or discarded, the next look finds
// another slot, or none.
func retryKey(try func() (slot, error)) error {
	for last := slot(0); ; {
		s, err := try()
		if !errors.Is(err, errNoKey) || s == last {
			return err
		}
		last = s
	}
}

// unopenedDocument answers why a document's key did not open.
func (r *reader) unopenedDocument(p Place, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	for _, answer := range []error{ErrNotFound, ErrDestroyed, errUnread, errLookup} {
		if errors.Is(err, answer) {
			return err
		}
	}
	return &CorruptError{Document: p, Err: err}
}

// Document returns a document. Errors: ErrNotFound, ErrDestroyed, ErrClosed,
// *CorruptError.
func (v *Vault) Document(ctx context.Context, p Place) ([]byte, error) {
	plain, err := v.openDocument(ctx, p)
	if err != nil {
		return nil, err
	}
	clear(plain[:commitment.SaltSize])
	return plain[commitment.SaltSize:], nil
}

// openDocument returns the salt of a document's commitment followed by the document.
func (v *Vault) openDocument(ctx context.Context, p Place) ([]byte, error) {
	if err := v.enter(ctx); err != nil {
		return nil, err
	}
	defer v.leave()
	if err := p.check(); err != nil {
		return nil, err
	}
	use, err := v.active.read(p.name(), 0)
	if err != nil {
		return nil, err
	}
	defer use.end(ErrClosed)
	var sealed []byte
	var key [keySize]byte
	err = retryKey(func() (s slot, err error) {
		var proof []byte
		if sealed, s, proof, err = v.keys.document(ctx, p); err == nil {
			key, err = v.openNamed(ctx, use, s, proof)
		}
		return s, err
	})
	if err != nil {
		return nil, use.unopenedDocument(p, err)
	}
	plain, err := unsealDocument(&key, p, sealed)
	clear(key[:])
	if err != nil {
		return nil, &CorruptError{Document: p, Err: err}
	}
	use.mu.Lock()
	defer use.mu.Unlock()
	if use.err != nil {
		clear(plain)
		return nil, use.err
	}
	return plain, nil
}

// Find returns the place of the document that a term leads to; ErrNotFound if it
// leads to none.
func (v *Vault) Find(ctx context.Context, s Space, t Term) (Place, error) {
	if err := v.enter(ctx); err != nil {
		return Place{}, err
	}
	defer v.leave()
	digests, err := v.ledger.digests(s, []Term{t})
	if err != nil {
		return Place{}, err
	}
	p, err := v.keys.find(ctx, digests[0])
	if err == nil && p.Space != s { // the row was moved
		return Place{}, &CorruptError{Document: p, Err: errWrapped}
	}
	return p, err
}

// DiscardDocument undoes a PutDocument whose event was never written, and of an
// owner that has no other document removes the key. It leaves no tombstone.
// Errors: ErrNotFound, ErrDestroyed, ErrStopped.
func (v *Vault) DiscardDocument(ctx context.Context, p Place) error {
	if err := v.enter(ctx); err != nil {
		return err
	}
	defer v.leave()
	if err := p.check(); err != nil {
		return err
	}
	return v.discardDocument(p)
}

// discardDocument is one commit: a crash leaves the document whole, for Collect
// to ask about, or nothing of it.
func (v *Vault) discardDocument(p Place) error {
	if err := v.submit(&request{op: opDiscardDocument, doc: &documentRow{place: p}}); err != nil {
		return fmt.Errorf("discarding document %v: %w", p.ID, err)
	}
	v.named.drop(p.name()) // it may have been the last of its owner
	return nil
}

// DestroyPatient destroys a patient's key, and with it the documents in Identity,
// and removes the terms that lead to them. It returns how many keys were
// destroyed: one, or none if the patient had no documents. As with Destroy it is
// idempotent, leaves a tombstone, and when it returns nothing of the documents
// can be decrypted through this process.
func (v *Vault) DestroyPatient(ctx context.Context, patient events.ID) (keys int, err error) {
	return v.destroyDocuments(ctx, keyName{patientKey, patient})
}

func (v *Vault) destroyDocuments(ctx context.Context, name keyName) (keys int, err error) {
	if err := v.enter(ctx); err != nil {
		return 0, err
	}
	defer v.leave()
	if name.owner.IsZero() {
		return 0, fmt.Errorf("destroying a patient without an id: %w", ErrInvalid)
	}
	v.shut(name)
	// Crash before the commit: the patient is as before. Crash after it: it is
	// destroyed; see commit for what the keyring still has to do.
	req := &request{op: opDestroy, name: name}
	if err := v.submit(req); err != nil {
		return 0, fmt.Errorf("destroying the documents of patient %v: %w", name.owner, err)
	}
	v.active.forget(name)
	return req.keys, nil
}

func sealDocument(key *[keySize]byte, p Place, plain []byte, random io.Reader) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return seal(aead, random, plain, p.context())
}

// unsealDocument returns the salt of a document followed by the document.
func unsealDocument(key *[keySize]byte, p Place, sealed []byte) ([]byte, error) {
	if n := len(sealed) - sealOverhead; n < commitment.SaltSize || n > commitment.SaltSize+MaxDocument {
		return nil, fmt.Errorf("document of %d bytes: %w", len(sealed), errWrapped)
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return unseal(aead, sealed, p.context())
}

// context is what a document is bound to.
func (p Place) context() []byte {
	b := append([]byte(documentContext), byte(p.Space))
	b = append(b, p.Owner[:]...)
	return append(b, p.ID[:]...)
}
