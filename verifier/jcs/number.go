package jcs

import (
	"math"
	"strconv"
)

// numberEnd returns the end of the JSON number that begins at text[pos], or -1.
func numberEnd(text []byte, pos int) int {
	i := pos
	if i < len(text) && text[i] == '-' {
		i++
	}
	whole := digitsEnd(text, i)
	if whole == i || whole > i+1 && text[i] == '0' {
		return -1
	}
	i = whole
	if i < len(text) && text[i] == '.' {
		fraction := digitsEnd(text, i+1)
		if fraction == i+1 {
			return -1
		}
		i = fraction
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		exponent := digitsEnd(text, i)
		if exponent == i {
			return -1
		}
		i = exponent
	}
	return i
}

func digitsEnd(text []byte, i int) int {
	for i < len(text) && '0' <= text[i] && text[i] <= '9' {
		i++
	}
	return i
}

// canonicalNumber reports whether a JSON number is spelled canonically.
func canonicalNumber(number []byte) bool {
	// An integer of at most 15 digits is exact in a double.
	if number[0] != '-' && len(number) <= 15 && digitsEnd(number, 0) == len(number) {
		return true
	}
	f, err := strconv.ParseFloat(string(number), 64)
	if err != nil {
		return false
	}
	var buf [32]byte
	return string(appendNumber(buf[:0], f)) == string(number)
}

// appendNumber appends a finite number as ECMAScript's Number::toString writes
// it (ECMA-262, section 6.1.6.1.20).
func appendNumber(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0') // also for -0
	}
	if abs := math.Abs(f); 1e-6 <= abs && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// Go pads exponents to two digits, ECMAScript does not: e-09 is e-9.
	if n := len(dst); dst[n-2] == '0' && dst[n-4] == 'e' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}
