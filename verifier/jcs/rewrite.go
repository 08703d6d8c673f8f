package jcs

import (
	"fmt"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A rewriter reads JSON in any spelling and writes it canonically.
type rewriter struct {
	text []byte
	pos  int
	out  []byte
}

// fault returns err with the place where it was found.
func (w *rewriter) fault(err error) error {
	return fmt.Errorf("at byte %d: %w", w.pos, err)
}

// space steps over white space.
func (w *rewriter) space() {
	for w.pos < len(w.text) {
		switch w.text[w.pos] {
		case ' ', '\t', '\n', '\r':
			w.pos++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end, which no token begins with.
func (w *rewriter) peek() byte {
	if w.pos < len(w.text) {
		return w.text[w.pos]
	}
	return 0
}

// skip steps over b, which is to be the next byte that is not white space, and
// over white space after it.
func (w *rewriter) skip(b byte) bool {
	w.space()
	if w.peek() != b {
		return false
	}
	w.pos++
	w.space()
	return true
}

func (w *rewriter) value(depth int) error {
	switch w.peek() {
	case '{', '[':
		if depth == MaxDepth {
			return w.fault(ErrLimit)
		}
		if w.peek() == '{' {
			return w.object(depth + 1)
		}
		return w.array(depth + 1)
	case '"':
		return w.str()
	case 't', 'f', 'n':
		n := literalAt(w.text, w.pos)
		if n == 0 {
			return w.fault(ErrSyntax)
		}
		w.out = append(w.out, w.text[w.pos:w.pos+n]...)
		w.pos += n
		return nil
	}
	return w.number()
}

func (w *rewriter) number() error {
	end := numberEnd(w.text, w.pos)
	if end < 0 {
		return w.fault(ErrSyntax)
	}
	f, err := strconv.ParseFloat(string(w.text[w.pos:end]), 64)
	if err != nil {
		return w.fault(ErrNumber)
	}
	w.out = appendNumber(w.out, f)
	w.pos = end
	return nil
}

func (w *rewriter) array(depth int) error {
	w.skip('[')
	w.out = append(w.out, '[')
	if w.skipLast(']') {
		return nil
	}
	for {
		if err := w.value(depth); err != nil {
			return err
		}
		if w.skip(',') {
			w.out = append(w.out, ',')
			continue
		}
		if !w.skipLast(']') {
			return w.fault(ErrSyntax)
		}
		return nil
	}
}

// skipLast steps over the bracket that ends an array or an object and writes it.
func (w *rewriter) skipLast(b byte) bool {
	w.space()
	if w.peek() != b {
		return false
	}
	w.pos++
	w.out = append(w.out, b)
	return true
}

// A member is `"name":value` at out[start:end], the name's quotes at start and
// before nameEnd.
type member struct{ start, nameEnd, end int }

func (w *rewriter) object(depth int) error {
	w.skip('{')
	w.out = append(w.out, '{')
	if w.skipLast('}') {
		return nil
	}
	var members []member
	for {
		m := member{start: len(w.out)}
		if w.peek() != '"' {
			return w.fault(ErrSyntax)
		}
		if err := w.str(); err != nil {
			return err
		}
		m.nameEnd = len(w.out)
		if !w.skip(':') {
			return w.fault(ErrSyntax)
		}
		w.out = append(w.out, ':')
		if err := w.value(depth); err != nil {
			return err
		}
		m.end = len(w.out)
		members = append(members, m)
		if w.skip(',') {
			w.out = append(w.out, ',')
			continue
		}
		if err := w.sort(members); err != nil {
			return err
		}
		if !w.skipLast('}') {
			return w.fault(ErrSyntax)
		}
		return nil
	}
}

// sort puts the members of the object at the end of out, with commas between
// them, into their order.
func (w *rewriter) sort(members []member) error {
	compare := func(a, b member) int {
		return compareText(w.out[a.start+1:a.nameEnd-1], w.out[b.start+1:b.nameEnd-1])
	}
	start := members[0].start
	sorted := slices.IsSortedFunc(members, compare)
	if !sorted {
		slices.SortFunc(members, compare)
	}
	for i := 1; i < len(members); i++ {
		if compare(members[i-1], members[i]) == 0 {
			return w.fault(ErrDuplicate)
		}
	}
	if sorted {
		return nil
	}
	unsorted := slices.Clone(w.out[start:])
	w.out = w.out[:start]
	for i, m := range members {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		w.out = append(w.out, unsorted[m.start-start:m.end-start]...)
	}
	return nil
}

func (w *rewriter) str() error {
	w.pos++
	w.out = append(w.out, '"')
	for w.pos < len(w.text) {
		switch b := w.text[w.pos]; {
		case b == '"':
			w.pos++
			w.out = append(w.out, '"')
			return nil
		case b == '\\':
			if err := w.escape(); err != nil {
				return err
			}
		case b < 0x20:
			return w.fault(ErrSyntax)
		case b < utf8.RuneSelf:
			w.out = append(w.out, b)
			w.pos++
		default:
			r, n := utf8.DecodeRune(w.text[w.pos:])
			if r == utf8.RuneError && n == 1 {
				return w.fault(ErrUnicode)
			}
			w.out = append(w.out, w.text[w.pos:w.pos+n]...)
			w.pos += n
		}
	}
	return w.fault(ErrSyntax)
}

// escape rewrites one escape, or the two of a surrogate pair.
func (w *rewriter) escape() error {
	rest := w.text[w.pos:]
	if len(rest) < 2 {
		return w.fault(ErrSyntax)
	}
	if rest[1] != 'u' {
		r := unescape(rest[1])
		if r < 0 {
			return w.fault(ErrSyntax)
		}
		w.out = appendRune(w.out, r)
		w.pos += 2
		return nil
	}
	r := unicodeEscape(rest)
	if r < 0 {
		return w.fault(ErrSyntax)
	}
	n := 6
	if utf16.IsSurrogate(r) {
		if r = utf16.DecodeRune(r, unicodeEscape(rest[6:])); r == utf8.RuneError {
			return w.fault(ErrUnicode)
		}
		n = 12
	}
	w.out = appendRune(w.out, r)
	w.pos += n
	return nil
}

// unicodeEscape returns the code unit of the \uXXXX that s begins with, or -1.
func unicodeEscape(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	return hex4(s[2:6])
}
