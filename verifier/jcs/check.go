package jcs

import "unicode/utf8"

// A checker walks a text and stops at the first byte that a canonical text
// could not have there. It is the fast reader, of the canonical spelling alone, and
// says only where it stopped. The rewriter reads every spelling; Check and Marshal
// run it only on what the checker refuses, to find the error or to rewrite it.
type checker struct {
	text []byte
	pos  int
}

// peek returns the next byte, or 0 at the end, which no token begins with.
func (c *checker) peek() byte {
	if c.pos < len(c.text) {
		return c.text[c.pos]
	}
	return 0
}

// skip steps over b if it is the next byte.
func (c *checker) skip(b byte) bool {
	if c.peek() != b {
		return false
	}
	c.pos++
	return true
}

func (c *checker) value(depth int) bool {
	switch b := c.peek(); b {
	case '{':
		return depth < MaxDepth && c.object(depth+1)
	case '[':
		return depth < MaxDepth && c.array(depth+1)
	case '"':
		return c.str()
	case 't', 'f', 'n':
		n := literalAt(c.text, c.pos)
		c.pos += n
		return n > 0
	default:
		return c.number()
	}
}

func (c *checker) object(depth int) bool {
	c.pos++
	if c.skip('}') {
		return true
	}
	var last []byte
	for first := true; ; first = false {
		start := c.pos
		if c.peek() != '"' || !c.str() {
			return false
		}
		name := c.text[start+1 : c.pos-1]
		if !first && compareText(last, name) >= 0 {
			c.pos = start
			return false
		}
		last = name
		if !c.skip(':') || !c.value(depth) {
			return false
		}
		if !c.skip(',') {
			return c.skip('}')
		}
	}
}

func (c *checker) array(depth int) bool {
	c.pos++
	if c.skip(']') {
		return true
	}
	for {
		if !c.value(depth) {
			return false
		}
		if !c.skip(',') {
			return c.skip(']')
		}
	}
}

func (c *checker) str() bool {
	text, i := c.text, c.pos+1
	for i < len(text) {
		switch b := text[i]; {
		case b == '"':
			c.pos = i + 1
			return true
		case b == '\\':
			n := minimalEscape(text[i:])
			if n == 0 {
				c.pos = i
				return false
			}
			i += n
		case b < 0x20:
			c.pos = i
			return false
		case b < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && n == 1 {
				c.pos = i
				return false
			}
			i += n
		}
	}
	c.pos = i
	return false
}

func (c *checker) number() bool {
	end := numberEnd(c.text, c.pos)
	if end < 0 || !canonicalNumber(c.text[c.pos:end]) {
		return false
	}
	c.pos = end
	return true
}

// minimalEscape returns the length of the escape that s begins with if that
// is how a canonical text spells the character, and 0 if not.
func minimalEscape(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', 'b', 't', 'n', 'f', 'r':
		return 2
	case 'u':
		if len(s) < 6 {
			return 0
		}
		r := hex4(s[2:6])
		if r < 0 || r >= 0x20 {
			return 0
		}
		var buf [6]byte
		if string(appendRune(buf[:0], r)) != string(s[:6]) {
			return 0
		}
		return 6
	}
	return 0
}
