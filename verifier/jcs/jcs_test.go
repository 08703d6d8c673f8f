package jcs

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf16"
)

// The table of RFC 8785 appendix B.
func TestNumbersOfAppendixB(t *testing.T) {
	for _, c := range []struct {
		bits uint64
		want string
	}{
		{0x0000000000000000, "0"},
		{0x8000000000000000, "0"},
		{0x0000000000000001, "5e-324"},
		{0x8000000000000001, "-5e-324"},
		{0x7fefffffffffffff, "1.7976931348623157e+308"},
		{0xffefffffffffffff, "-1.7976931348623157e+308"},
		{0x4340000000000000, "9007199254740992"},
		{0xc340000000000000, "-9007199254740992"},
		{0x4430000000000000, "295147905179352830000"},
		{0x44b52d02c7e14af5, "9.999999999999997e+22"},
		{0x44b52d02c7e14af6, "1e+23"},
		{0x44b52d02c7e14af7, "1.0000000000000001e+23"},
		{0x444b1ae4d6e2ef4e, "999999999999999700000"},
		{0x444b1ae4d6e2ef4f, "999999999999999900000"},
		{0x444b1ae4d6e2ef50, "1e+21"},
		{0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
		{0x3eb0c6f7a0b5ed8d, "0.000001"},
		{0x41b3de4355555553, "333333333.3333332"},
		{0x41b3de4355555554, "333333333.33333325"},
		{0x41b3de4355555555, "333333333.3333333"},
		{0x41b3de4355555556, "333333333.3333334"},
		{0x41b3de4355555557, "333333333.33333343"},
		{0xbecbf647612f3696, "-0.0000033333333333333333"},
		{0x43143ff3c1cb0959, "1424953923781206.2"},
	} {
		got := string(appendNumber(nil, math.Float64frombits(c.bits)))
		if got != c.want {
			t.Errorf("%016x is written %s, want %s", c.bits, got, c.want)
		}
		if err := Check([]byte(c.want)); err != nil {
			t.Errorf("Check(%s): %v", c.want, err)
		}
	}
}

// The examples of RFC 8785 sections 3.2.2, 3.2.3 and of the package's own bounds.
var canonicalForms = []struct{ name, in, want string }{
	{"section 3.2.2", `{
  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
  "literals": [null, true, false]
}`, `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`},
	{"section 3.2.3", `{
  "\u20ac": "Euro Sign",
  "\r": "Carriage Return",
  "\ufb33": "Hebrew Letter Dalet With Dagesh",
  "1": "One",
  "\ud83d\ude00": "Emoji: Grinning Face",
  "\u0080": "Control",
  "\u00f6": "Latin Small Letter O With Diaeresis"
}`, `{"\r":"Carriage Return","1":"One","` + "\u0080" + `":"Control","ö":"Latin Small Letter O With Diaeresis","€":"Euro Sign","😀":"Emoji: Grinning Face","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}`},
	{"scalar", " 1 ", "1"},
	{"minus zero", "[-0,-0.0,0e9,-1e-400]", "[0,0,0,0]"},
	{"exponents", "[1e0,1E+2,1e-7,12e20,123456789012345678]", "[1,100,1e-7,1.2e+21,123456789012345680]"},
	{"empty", "[ { } , [ ] , \"\" ]", `[{},[],""]`},
	{"escapes", `"\b\f\n\r\t\u0000\u001f\u007f\u2028\/"`, `"\b\f\n\r\t\u0000\u001f` + "\u007f\u2028/\""},
	{"nested order", `{"b":{"d":1,"c":[{"z":1,"y":2}]},"a":2}`, `{"a":2,"b":{"c":[{"y":2,"z":1}],"d":1}}`},
	{"prefix first", `{"ab":1,"a":2,"":3}`, `{"":3,"a":2,"ab":1}`},
	{"escaped names", `{"\\":1,"\"":2,"\u0001":3,"a":4,"A":5}`, `{"\u0001":3,"\"":2,"A":5,"\\":1,"a":4}`},
	{"deepest", strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)},
}

func TestCanonicalize(t *testing.T) {
	for _, c := range canonicalForms {
		got, err := Canonicalize([]byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v\nwant %s", c.name, got, err, c.want)
		}
		if err := Check([]byte(c.want)); err != nil {
			t.Errorf("%s: Check of the canonical form: %v", c.name, err)
		}
		if err := Check([]byte(c.in)); c.in != c.want && !errors.Is(err, ErrNotCanonical) {
			t.Errorf("%s: Check of another form: %v, want ErrNotCanonical", c.name, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     error
	}{
		{"nothing", "", ErrSyntax},
		{"white space", " \n", ErrSyntax},
		{"two values", "1 2", ErrSyntax},
		{"byte order mark", "\ufeff1", ErrSyntax},
		{"literal cut short", "tru", ErrSyntax},
		{"literal in upper case", "True", ErrSyntax},
		{"leading zero", "01", ErrSyntax},
		{"lone minus", "-", ErrSyntax},
		{"plus", "+1", ErrSyntax},
		{"fraction without digits", "1.", ErrSyntax},
		{"fraction alone", ".5", ErrSyntax},
		{"exponent without digits", "1e+", ErrSyntax},
		{"hexadecimal", "0x10", ErrSyntax},
		{"not a number", "NaN", ErrSyntax},
		{"infinite", "1e999", ErrNumber},
		{"infinite below", "-1e999", ErrNumber},
		{"open string", `"a`, ErrSyntax},
		{"open escape", `"\`, ErrSyntax},
		{"unknown escape", `"\x41"`, ErrSyntax},
		{"short unicode escape", `"\u12`, ErrSyntax},
		{"bad unicode escape", `"\u12g4"`, ErrSyntax},
		{"control character", "\"\n\"", ErrSyntax},
		{"invalid UTF-8", "\"\xff\"", ErrUnicode},
		{"overlong UTF-8", "\"\xc0\x80\"", ErrUnicode},
		{"surrogate in UTF-8", "\"\xed\xa0\x80\"", ErrUnicode},
		{"lone high surrogate", `"\ud83d"`, ErrUnicode},
		{"lone low surrogate", `"\ude00"`, ErrUnicode},
		{"surrogates swapped", `"\ude00\ud83d"`, ErrUnicode},
		{"high surrogate and letter", `"\ud83dA"`, ErrUnicode},
		{"repeated name", `{"a":1,"a":1}`, ErrDuplicate},
		{"repeated name apart", `{"a":1,"b":2,"a":3}`, ErrDuplicate},
		{"repeated name in an escape", `{"a":1,"\u0061":2}`, ErrDuplicate},
		{"name is not a string", `{1:2}`, ErrSyntax},
		{"comma at the end", `[1,]`, ErrSyntax},
		{"comma at the end of an object", `{"a":1,}`, ErrSyntax},
		{"comma missing", `[1 2]`, ErrSyntax},
		{"colon missing", `{"a" 1}`, ErrSyntax},
		{"open array", `[1`, ErrSyntax},
		{"open object", `{"a":1`, ErrSyntax},
		{"wrong bracket", `[1}`, ErrSyntax},
		{"too deep", strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), ErrLimit},
		{"too deep with objects", strings.Repeat(`{"a":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1), ErrLimit},
		{"hostile depth", strings.Repeat("[", MaxSize), ErrLimit},
		{"too large", strings.Repeat(" ", MaxSize) + "1", ErrLimit},
	} {
		if got, err := Canonicalize([]byte(c.in)); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: Canonicalize gives %.40q, %v, want %v", c.name, got, err, c.want)
		}
		if err := Check([]byte(c.in)); !errors.Is(err, c.want) {
			t.Errorf("%s: Check gives %v, want %v", c.name, err, c.want)
		}
	}
}

func TestNotCanonical(t *testing.T) {
	for _, in := range []string{
		" 1", "1 ", "1\n", "[ 1]", "[1 ]", "[1, 2]", `{ "a":1}`, `{"a" :1}`, `{"a": 1}`, `{"a":1 }`,
		`{"b":1,"a":2}`, "-0", "1.0", "1e2", "1E21", "1e21", "1e+021", "0.0000001", "1e-07", "9007199254740993",
		`"\/"`, `"\u0041"`, `"\u000a"`, `"\u001F"`, `"\u00e9"`, `"\ud83d\ude00"`, `"\u0022"`, `"\u005c"`,
		`{"` + "\ufb33" + `":1,"😀":2}`,
	} {
		if err := Check([]byte(in)); !errors.Is(err, ErrNotCanonical) {
			t.Errorf("Check(%q): %v, want ErrNotCanonical", in, err)
		}
	}
}

// Names are ordered as UTF-16 orders them, whatever the characters.
func TestOrderIsThatOfUTF16(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	runes := []rune{0, 1, '\b', '\n', 0x1f, ' ', '"', '/', '\\', 'a', 'z', 0x7f, 0x80, 'ö', 0x7ff, 0x800, '€',
		0xd7ff, 0xe000, 0xfb33, 0xfffd, 0xffff, 0x10000, 0x1f600, 0x10ffff}
	random := func() (spelled []byte, units []uint16) {
		for range rnd.IntN(4) {
			r := runes[rnd.IntN(len(runes))]
			spelled = appendRune(spelled, r)
			units = utf16.AppendRune(units, r)
		}
		return spelled, units
	}
	for range 100_000 {
		a, au := random()
		b, bu := random()
		if got, want := compareText(a, b), compareUnits(au, bu); got != want {
			t.Fatalf("comparing %q with %q gives %d, UTF-16 %d", a, b, got, want)
		}
	}
}

func compareUnits(a, b []uint16) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			if a[i] < b[i] {
				return -1
			}
			return 1
		}
	}
	return min(max(len(a)-len(b), -1), 1)
}

func TestMarshal(t *testing.T) {
	for _, c := range []struct {
		in   any
		want string
	}{
		{map[string]any{"b": 1.0, "a": "<&>\u2028"}, `{"a":"<&>` + "\u2028" + `","b":1}`},
		{struct {
			B int `json:"b"`
			A int `json:"a"`
		}{1, 2}, `{"a":2,"b":1}`},
		{nil, "null"},
	} {
		if got, err := Marshal(c.in); err != nil || string(got) != c.want {
			t.Errorf("Marshal(%v) = %s, %v, want %s", c.in, got, err, c.want)
		}
	}
	if _, err := Marshal(func() {}); err == nil {
		t.Error("Marshal of a function succeeds")
	}
}

func TestCheckDoesNotAllocate(t *testing.T) {
	text := []byte(benchmarkText)
	if n := testing.AllocsPerRun(100, func() {
		if err := Check(text); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Check allocates %v times", n)
	}
}

func FuzzCanonical(f *testing.F) {
	for _, c := range canonicalForms {
		f.Add([]byte(c.in))
		f.Add([]byte(c.want))
	}
	f.Add([]byte(benchmarkText))
	f.Add([]byte(`{"a":[1e999,"\ud800"],"a":-0}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Canonicalize(in)
		checked := Check(in)
		if err != nil {
			if checked == nil {
				t.Fatalf("Check accepts %q, Canonicalize does not: %v", in, err)
			}
			if errors.Is(err, ErrSyntax) && json.Valid(in) {
				t.Fatalf("%q is JSON, but: %v", in, err)
			}
			return
		}
		if !json.Valid(in) {
			t.Fatalf("%q is not JSON, but was accepted", in)
		}
		if (checked == nil) != bytes.Equal(in, got) {
			t.Fatalf("Check(%q): %v, but the canonical form is %q", in, checked, got)
		}
		if err := Check(got); err != nil {
			t.Fatalf("Check of the canonical form %q: %v", got, err)
		}
		if again, err := Canonicalize(got); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("canonical form of %q: %q, %v", got, again, err)
		}
		sameValue(t, in, got)
	})
}

// sameValue holds the canonical form against another reader of JSON.
func sameValue(t *testing.T, a, b []byte) {
	var va, vb any
	if err := json.Unmarshal(a, &va); err != nil {
		t.Fatalf("%q: %v", a, err)
	}
	if err := json.Unmarshal(b, &vb); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	ja, _ := json.Marshal(va) // sorts names and writes -0 as -0
	jb, _ := json.Marshal(vb)
	if !bytes.Equal(bytes.ReplaceAll(ja, []byte("-0"), []byte("0")), bytes.ReplaceAll(jb, []byte("-0"), []byte("0"))) {
		t.Fatalf("canonical form changes the value: %s, %s", ja, jb)
	}
}

const benchmarkText = `{"correlationid":"0191e0a5-7b1c-7d2e-8f3a-1b2c3d4e5f60","data":{"actor":"f3a1c2d4-0b1e-4c5d-9e8f-a1b2c3d4e5f6",` +
	`"commitment":"q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA","confidentiality":"N","decision":{"position":123456,"rule":"own-organisation","rules":"medledger-rules-1"},` +
	`"kind":"bundle","organisation":"0b1e4c5d-9e8f-41b2-83d4-e5f6f3a1c2d4","patient":"9e8fa1b2-c3d4-45f6-93a1-c2d40b1e4c5d","size":104857},` +
	`"dataschema":"urn:medledger:schema:record.originated.v1","id":"0191e0a5-7b1c-7d2e-8f3a-1b2c3d4e5f61","source":"clinic.example/ledger","specversion":"1.0",` +
	`"subject":"c3d445f6-93a1-42d4-8b1e-4c5d9e8fa1b2","time":"2026-11-23T20:00:00.000000Z","type":"medledger.record.originated.v1"}`

func BenchmarkCheck(b *testing.B) {
	text := []byte(benchmarkText)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCanonicalize(b *testing.B) {
	text := []byte(benchmarkText)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Canonicalize(text); err != nil {
			b.Fatal(err)
		}
	}
}
