package jcs

import (
	"cmp"
	"unicode/utf8"
)

// short has the letters of the two-character escapes of control characters.
const short = "\b\t\n\f\r"
const shortLetters = "btnfr"

// appendRune appends a character in its canonical spelling within a string.
func appendRune(dst []byte, r rune) []byte {
	if r >= 0x20 {
		if r == '"' || r == '\\' {
			dst = append(dst, '\\')
		}
		return utf8.AppendRune(dst, r)
	}
	for i := range len(short) {
		if rune(short[i]) == r {
			return append(dst, '\\', shortLetters[i])
		}
	}
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
}

// compareText orders two canonically spelled strings, without their quotes,
// by their UTF-16 code units.
func compareText(a, b []byte) int {
	for len(a) > 0 && len(b) > 0 {
		ra, na := firstRune(a)
		rb, nb := firstRune(b)
		if ra != rb {
			return cmp.Compare(utf16Rank(ra), utf16Rank(rb))
		}
		a, b = a[na:], b[nb:]
	}
	return cmp.Compare(len(a), len(b))
}

// utf16Rank maps characters to numbers that are ordered as their UTF-16 forms
// are: characters beyond U+FFFF start with a surrogate, and surrogates lie
// below U+E000.
func utf16Rank(r rune) rune {
	if 0xe000 <= r && r <= 0xffff {
		return r + utf8.MaxRune
	}
	return r
}

// firstRune returns the first character of a canonically spelled string that
// is not empty, and how many bytes spell it.
func firstRune(s []byte) (rune, int) {
	switch {
	case s[0] >= utf8.RuneSelf:
		return utf8.DecodeRune(s)
	case s[0] != '\\':
		return rune(s[0]), 1
	case s[1] == 'u':
		return hex4(s[2:6]), 6
	}
	return unescape(s[1]), 2
}

// unescape returns the character that a backslash and b stand for, or -1.
func unescape(b byte) rune {
	switch b {
	case '"', '\\', '/':
		return rune(b)
	}
	for i := range len(shortLetters) {
		if shortLetters[i] == b {
			return rune(short[i])
		}
	}
	return -1
}

// hex4 reads four hexadecimal digits; it returns -1 if s is not that.
func hex4(s []byte) rune {
	if len(s) != 4 {
		return -1
	}
	var r rune
	for _, b := range s {
		switch {
		case '0' <= b && b <= '9':
			b -= '0'
		case 'a' <= b && b <= 'f':
			b -= 'a' - 10
		case 'A' <= b && b <= 'F':
			b -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(b)
	}
	return r
}

// literalAt returns the length of the literal that stands at text[pos:], or 0.
func literalAt(text []byte, pos int) int {
	for _, literal := range [...]string{"true", "false", "null"} {
		if len(text)-pos >= len(literal) && string(text[pos:pos+len(literal)]) == literal {
			return len(literal)
		}
	}
	return 0
}
