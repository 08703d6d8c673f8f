// Package token is how the ledger reaches keys in a token: through a helper process,
// medledger-token, which alone loads the token's library, over a local socket. So the
// ledger's own process needs no cgo and never has a root key or a PIN in its memory,
// and the foreign code of a token's vendor has nothing of the ledger's in its own.
//
// client.go is the ledger's end and a custody.Custody, server.go is the helper's and
// serves any custody.Custody. Both tell who the other is by the credentials that the
// kernel has of a Unix socket's peer, so both need Linux.
//
// # Protocol
//
// Either side sends frames; a client sends one request and waits for its response:
//
//	frame     length uint32 || message        length 2 to 65,535
//	request   version 1 || op || fields
//	response  version 1 || op || status || fields
//
// Numbers are big-endian. A text or a string of bytes is its length and then itself;
// name is a key's name with a length of one byte, context and data have one of two
// bytes. Fields by op:
//
//	op           request                response, status 0
//	1  hello     -                      kind of custody, text of 1 to 16 of a-z
//	2  create    name                   -
//	3  seal      name, context, data    data
//	4  open      name, context, data    data
//	5  destroy   name                   -
//	6  names     name or empty          more (0 or 1), count uint16, count × name
//
// names answers the names that come after the one in the request, ascending, and
// whether there are more. Any other status is followed by a message of at most 512
// bytes of UTF-8 without control characters, with a length of two bytes:
//
//	1  no such key     2  exists already    3  not sealed with this key
//	4  unavailable     5  malformed name    6  too long to be sealed
//	7  malformed request                    8  another version of the protocol
//	9  any other error
//
// A client begins with hello. What is not exactly this closes the connection, and
// nothing may follow the last field. context has at most 4,096 bytes, what is to be
// sealed at most custody.MaxPlain, and what was sealed at most custody.MaxSealed.
package token

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"

	"github.com/medledger/medledger/ledger/custody"
)

// version is the protocol's.
const version = 1

// The bounds of the protocol, in bytes, but for maxNames.
const (
	maxFrame   = 1<<16 - 1
	maxContext = 4096
	maxText    = 512
	maxNames   = 512
	maxKind    = 16
)

// op is what is asked for.
type op byte

const (
	opHello op = 1 + iota
	opCreate
	opSeal
	opOpen
	opDestroy
	opNames
)

// status is how it went.
type status byte

const (
	statusOK status = iota
	statusNoKey
	statusExists
	statusSealed
	statusUnavailable
	statusName
	statusTooLong
	statusMalformed
	statusVersion
	statusFailed
)

type request struct {
	op            op
	name          string
	context, data []byte
}

type response struct {
	op     op
	status status
	kind   custody.Kind
	data   []byte
	names  []string
	more   bool
	text   string // of an error
}

var (
	errMalformed = errors.New("malformed message")
	errVersion   = errors.New("the other side speaks another version of the protocol; install medledger and medledger-token of the same release")
)

// beginFrame begins a frame, whose length endFrame fills in.
func beginFrame(capacity int) []byte { return make([]byte, 4, 4+capacity) }

func endFrame(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// readFrame reads the message of a frame. The caller wipes it.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length < 2 || length > maxFrame {
		return nil, fmt.Errorf("%w: a length of %d", errMalformed, length)
	}
	message := make([]byte, length)
	if _, err := io.ReadFull(r, message); err != nil {
		clear(message)
		return nil, err
	}
	return message, nil
}

// frame is the request as it is sent. The caller wipes it.
func (q *request) frame() []byte {
	b := append(beginFrame(8+len(q.name)+len(q.context)+len(q.data)), version, byte(q.op))
	switch q.op {
	case opCreate, opDestroy, opNames:
		b = appendShort(b, q.name)
	case opSeal, opOpen:
		b = appendShort(b, q.name)
		b = appendLong(b, q.context)
		b = appendLong(b, q.data)
	}
	return endFrame(b)
}

// parseRequest reads a request. It refers to the message.
func parseRequest(message []byte) (*request, error) {
	p := parser{rest: message}
	if p.byte() != version {
		return nil, errVersion
	}
	q := &request{op: op(p.byte())}
	switch q.op {
	case opHello:
	case opCreate, opDestroy:
		q.name = p.name(false)
	case opNames:
		q.name = p.name(true)
	case opSeal:
		q.name, q.context, q.data = p.name(false), p.long(maxContext), p.long(custody.MaxPlain)
	case opOpen:
		q.name, q.context, q.data = p.name(false), p.long(maxContext), p.long(custody.MaxSealed)
	default:
		p.failed = true
	}
	return q, p.end()
}

// frame is the response as it is sent. The caller wipes it.
func (a *response) frame() []byte {
	b := append(beginFrame(16+len(a.data)+len(a.text)), version, byte(a.op), byte(a.status))
	switch {
	case a.status != statusOK:
		b = appendLong(b, []byte(a.text))
	case a.op == opHello:
		b = appendShort(b, string(a.kind))
	case a.op == opSeal || a.op == opOpen:
		b = appendLong(b, a.data)
	case a.op == opNames:
		more := byte(0)
		if a.more {
			more = 1
		}
		b = binary.BigEndian.AppendUint16(append(b, more), uint16(len(a.names)))
		for _, name := range a.names {
			b = appendShort(b, name)
		}
	}
	return endFrame(b)
}

// parseResponse reads a response. It refers to the message.
func parseResponse(message []byte) (*response, error) {
	p := parser{rest: message}
	if p.byte() != version {
		return nil, errVersion
	}
	a := &response{op: op(p.byte()), status: status(p.byte())}
	switch {
	case a.op < opHello || a.op > opNames || a.status > statusFailed:
		p.failed = true
	case a.status != statusOK:
		a.text = p.text()
	case a.op == opHello:
		a.kind = p.kind()
	case a.op == opSeal:
		a.data = p.long(custody.MaxSealed)
	case a.op == opOpen:
		a.data = p.long(custody.MaxPlain)
	case a.op == opNames:
		a.more, a.names = p.names()
	}
	return a, p.end()
}

func appendShort(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func appendLong(b, s []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// parser takes fields from a message. After the first that is malformed it takes
// nothing, and end says so.
type parser struct {
	rest   []byte
	failed bool
}

func (p *parser) take(n int) []byte {
	if p.failed || len(p.rest) < n {
		p.failed = true
		return nil
	}
	b := p.rest[:n:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) byte() byte {
	if b := p.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) uint16() int {
	if b := p.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (p *parser) name(mayBeEmpty bool) string {
	name := string(p.take(int(p.byte())))
	if (name != "" || !mayBeEmpty) && custody.CheckName(name) != nil {
		p.failed = true
	}
	return name
}

func (p *parser) kind() custody.Kind {
	kind := p.take(int(p.byte()))
	if len(kind) < 1 || len(kind) > maxKind {
		p.failed = true
	}
	for _, c := range kind {
		if c < 'a' || c > 'z' {
			p.failed = true
		}
	}
	return custody.Kind(kind)
}

func (p *parser) long(limit int) []byte {
	n := p.uint16()
	if n > limit {
		p.failed = true
	}
	return p.take(n)
}

func (p *parser) text() string {
	text := string(p.long(maxText))
	if text != printable(text) {
		p.failed = true
	}
	return text
}

// names takes names in ascending order.
func (p *parser) names() (more bool, names []string) {
	switch p.byte() {
	case 0:
	case 1:
		more = true
	default:
		p.failed = true
	}
	count := p.uint16()
	if count > maxNames {
		p.failed = true
	}
	for range count {
		name := p.name(false)
		if p.failed || len(names) > 0 && name <= names[len(names)-1] {
			p.failed = true
			break
		}
		names = append(names, name)
	}
	return more, names
}

// end is the error of a message that was malformed or goes on.
func (p *parser) end() error {
	if p.failed || len(p.rest) > 0 {
		return errMalformed
	}
	return nil
}

// printable is what of a text may be sent: valid, of one line, and not too long.
func printable(s string) string {
	b := make([]byte, 0, min(len(s), maxText))
	for _, r := range s {
		if r == utf8.RuneError || unicode.IsControl(r) {
			r = ' '
		}
		if len(b)+utf8.RuneLen(r) > maxText {
			break
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b)
}
