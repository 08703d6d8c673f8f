// Package statement is the signed form of an event: the bytes that the ledger
// stores, hashes into its log, serves and verifies. This comment is the whole
// specification of the format; testdata/vectors.json has its test vectors.
//
// Nothing here uses a network, a clock or a disk. All functions may be called
// from several goroutines at once.
//
// # Envelope
//
// A statement is a tagged COSE_Sign1 (RFC 9052 section 4.2) in deterministic
// CBOR (RFC 8949 section 4.2.1), at most 65,535 bytes long. It leaves no choice,
// so its bytes are, with n the length of the payload in bytes:
//
//	d2                       tag 18, COSE_Sign1
//	84                       array of four
//	58 2c                    1. protected header, a byte string of 44 bytes:
//	   a3                       map of three
//	   01 27                    alg (1): EdDSA (-8)
//	   03 78 1c <28 bytes>      content type (3): "application/cloudevents+json"
//	   04 48 <8 bytes>          kid (4): the key id, a byte string
//	a0                       2. unprotected header: the empty map
//	40+n | 58 n | 59 nn nn   3. payload, a byte string of n bytes, its length
//	   <n bytes>                in the shortest form
//	58 40 <64 bytes>         4. signature, a byte string of 64 bytes
//
// The signature is Ed25519 (RFC 8032 section 5.1, pure) over the Sig_structure
// of RFC 9052 section 4.4 with empty external data, which is
//
//	84                                array of four
//	6a 5369676e617475726531           "Signature1"
//	58 2c <44 bytes>                  the protected header, as above
//	40                                external data: none
//	40+n | 58 n | 59 nn nn <n bytes>  the payload, as above
//
// It is valid if S < L and the encoding of [S]B - [k]A equals R byte by byte:
// the equation without cofactor, one signature at a time. (Verifiers that
// multiply by the cofactor, or check batches, can disagree about signatures
// that a malicious signer has made for the purpose.)
//
// # Payload
//
// The payload is a CloudEvents 1.0 event in its JSON format, spelled as RFC
// 8785 demands (package jcs). Its members, in their canonical order, all of
// them strings except data:
//
//	causationid    the id of the event that led to this one; left out if none
//	correlationid  joins the events of one request; left out if none
//	data           object; what happened, by type (package events)
//	dataschema     "urn:medledger:schema:" and the type without "medledger."
//	id             the event's id
//	source         the origin of the log: 1 to 200 of a-z 0-9 . - _ /
//	specversion    "1.0"
//	subject        the id of what it happened to
//	time           RFC 3339 in UTC with six digits of fraction and a "Z":
//	               2026-11-23T20:00:00.000000Z; years 2000 to 9999
//	type           "medledger.record.accessed.v1", for instance
//
// There are no other members; datacontenttype is left out, so that it has its
// default. Ids are UUIDs in lower case with hyphens, and not all zero.
//
// Data has exactly the members that package events declares for its type, each
// in the bounds of its Check. The JSON names and forms are:
//
//	ID         string, a UUID as above; a member that is optional (omitzero) is
//	           left out, never empty
//	Digest     string, 43 characters of unpadded base64url (RFC 4648 section 5)
//	Timestamp  string, the form of time
//	codes      string, one of the listed values
//	integers   JSON integers from 0 to 2^53-1, or less where the type says so
//
// # Keys
//
// A key id is the first eight bytes of the SHA-256 thumbprint of the public key
// as a JWK (RFC 7638, RFC 8037 section 2), that is of
//
//	{"crv":"Ed25519","kty":"OKP","x":"<32 bytes in unpadded base64url>"}
//
// In JSON a kid is the unpadded base64url of these eight bytes, 11 characters.
//
// The keys that may sign are announced in the log itself, by two types of event
// whose data has statementKeys, one to eight JWKs with members crv, kid, kty, x:
//
//   - medledger.ledger.opened.v1 stands at index 0 and at no other. It is signed
//     by one of the keys that it announces.
//   - medledger.ledger.key-rotated.v1 is signed by a key of the set before it
//     and replaces the set from the next index on. Its data.previous is the
//     index of the announcement that made the set before it.
//
// All other statements are signed by a key of the set that the last announcement
// before them made, and every statement's source is the source of the opening.
// KeySet is that rule.
//
// # Refusals
//
// A verifier refuses, with the error in brackets:
//
//   - more than 65,535 bytes [ErrTooLarge]
//   - CBOR in another than the deterministic form: lengths or integers not in
//     their shortest form, indefinite lengths, map keys in another order
//     [ErrNotCanonical]; map keys repeated [ErrMalformed]
//   - bytes that are not a tagged COSE_Sign1: another or no tag, no array of
//     four, an element of another type, bytes missing or left over, a payload
//     that is nil [ErrMalformed]
//   - an algorithm other than EdDSA, or none [ErrAlgorithm]
//   - any other header than the three; another content type; a kid that is not
//     eight bytes; a header that is not protected; a signature that is not 64
//     bytes [ErrMalformed]
//   - a payload that is not JSON, repeats a name, holds a string that is not
//     Unicode, a number beyond a double's range or more than 64 levels
//     [ErrMalformed]
//   - a payload in another spelling than RFC 8785's [ErrNotCanonical]
//   - a member of another JSON type, an id, time or digest in another form
//     [ErrMalformed]
//   - a type or a version that is not known [events.ErrUnknownType,
//     events.ErrUnknownVersion]
//   - an event or data out of bounds, which they also are when id, source,
//     subject, time or data is missing [events.ErrInvalid]
//   - a payload that is not the one encoding of the event that was read from it:
//     members that are not known or in the wrong case, other missing members,
//     optional ones with an empty value, null, a specversion or dataschema other
//     than the type's [ErrNotCanonical]
//   - a kid that is not in the key set [ErrUnknownKey]
//   - a signature that does not verify [ErrSignature]
//   - a source other than the origin of the key set [ErrOrigin]
//   - an announcement that breaks the rules above [ErrAnnouncement]
//
// What Parse accepts, it accepts in exactly one spelling: encoding the event
// again gives the same payload, and framing the payload the same bytes. Older
// versions of an event are read as they were written; events.Upcast makes them
// new, after the signature check.
package statement

import (
	"errors"

	"github.com/medledger/medledger/verifier/proof"
)

// MaxSize is the largest statement in bytes: the largest leaf of a log.
const MaxSize = proof.MaxEntry

var (
	// ErrTooLarge says that a statement has more than MaxSize bytes.
	ErrTooLarge = errors.New("statement over the size limit")
	// ErrMalformed says that the bytes are no statement.
	ErrMalformed = errors.New("malformed statement")
	// ErrAlgorithm says that a statement is not signed with EdDSA.
	ErrAlgorithm = errors.New("statement with another algorithm than EdDSA")
	// ErrNotCanonical says that the bytes are understood, but are not the one
	// encoding of what they say.
	ErrNotCanonical = errors.New("statement is not in its canonical form")
	// ErrUnknownKey says that the key that a statement names may not sign.
	ErrUnknownKey = errors.New("statement names a key that may not sign here")
	// ErrSignature says that a signature does not verify: somebody changed the
	// statement, or made it without the key.
	ErrSignature = errors.New("signature of the statement does not verify")
	// ErrOrigin says that a statement is from another ledger.
	ErrOrigin = errors.New("statement of another ledger")
	// ErrAnnouncement says that an announcement of statement keys breaks the
	// rules of its kind.
	ErrAnnouncement = errors.New("announcement of statement keys breaks the rules")
)
