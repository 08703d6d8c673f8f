// Package jcs reads and writes canonical JSON as RFC 8785 (JSON
// Canonicalization Scheme) defines it: the one spelling of a JSON value that
// may be signed and compared byte by byte.
//
// A canonical text is one JSON value (RFC 8259) in UTF-8 such that
//
//   - there is no white space outside of strings, and nothing before or after
//     the value;
//   - the members of every object stand in the order of their names, compared
//     as sequences of UTF-16 code units (section 3.2.3), and no two have the
//     same name;
//   - a string has the escapes \" and \\, \b \t \n \f \r for those five control
//     characters, \u00xx in lower case for the other ones below U+0020, and
//     nothing else escaped (section 3.2.2.2);
//   - a number is written as ECMAScript writes the IEEE 754 double nearest to
//     it (section 3.2.2.3): shortest digits, exponents from 1e+21 up and below
//     1e-6, no minus sign before a zero;
//   - strings hold no lone surrogates (section 3.2.2.2). Noncharacters, which
//     I-JSON forbids and RFC 8785 does not mention, are let through.
//
// Two bounds are this package's own: MaxSize and MaxDepth. A number whose
// double is infinite is refused; one too small for a double is zero.
package jcs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	// MaxSize is the longest text in bytes that is read.
	MaxSize = 16 << 20
	// MaxDepth is how deep arrays and objects may be nested.
	MaxDepth = 64
)

var (
	// ErrSyntax says that the text is not JSON.
	ErrSyntax = errors.New("not JSON")
	// ErrNotCanonical says that the text is JSON, but spelled otherwise than
	// Canonicalize spells it.
	ErrNotCanonical = errors.New("not canonical JSON (RFC 8785)")
	// ErrDuplicate says that an object has two members of the same name.
	ErrDuplicate = errors.New("repeated name in a JSON object")
	// ErrUnicode says that a string is not Unicode: invalid UTF-8 or a lone
	// surrogate.
	ErrUnicode = errors.New("JSON string that is not Unicode")
	// ErrNumber says that a number is too large for an IEEE 754 double.
	ErrNumber = errors.New("JSON number beyond the range of a double")
	// ErrLimit says that the text is larger than MaxSize or deeper than
	// MaxDepth.
	ErrLimit = errors.New("JSON over the size or depth limit")
)

// Check returns nil if text is canonical. Otherwise the error wraps
// ErrNotCanonical, or is the one that Canonicalize has for the text. It does
// not allocate unless it fails.
func Check(text []byte) error {
	if len(text) > MaxSize {
		return tooLarge(text)
	}
	c := checker{text: text}
	if c.value(0) && c.pos == len(text) {
		return nil
	}
	if _, err := Canonicalize(text); err != nil {
		return err
	}
	return fmt.Errorf("at byte %d: %w", c.pos, ErrNotCanonical)
}

// Canonicalize returns the canonical spelling of a JSON text. Its errors wrap
// ErrSyntax, ErrDuplicate, ErrUnicode, ErrNumber or ErrLimit.
func Canonicalize(text []byte) ([]byte, error) {
	if len(text) > MaxSize {
		return nil, tooLarge(text)
	}
	w := rewriter{text: text, out: make([]byte, 0, len(text))}
	w.space()
	if err := w.value(0); err != nil {
		return nil, err
	}
	w.space()
	if w.pos != len(text) {
		return nil, w.fault(ErrSyntax)
	}
	return w.out, nil
}

// Marshal returns the canonical spelling of what encoding/json makes of v.
// Like encoding/json it writes U+FFFD for invalid UTF-8 in Go strings.
func Marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("canonical JSON of a %T: %w", v, err)
	}
	text := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	c := checker{text: text}
	if len(text) <= MaxSize && c.value(0) && c.pos == len(text) {
		return text, nil
	}
	return Canonicalize(text)
}

func tooLarge(text []byte) error {
	return fmt.Errorf("text of %d bytes, limit %d: %w", len(text), MaxSize, ErrLimit)
}
