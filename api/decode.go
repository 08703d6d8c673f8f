package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// Requests in JSON are read strictly: exactly the members of the wire type, each
// once and in its one spelling, none of them null, those without omitempty or
// omitzero present, codes from their closed sets, nothing after the value. What
// encoding/json would let pass could mean one thing to us and another to a proxy
// that checks requests before us.

// readJSON reads the body of a request into out, a pointer to a wire type.
func (h *handler) readJSON(w http.ResponseWriter, r *http.Request, out any) error {
	if !isJSON(r.Header.Get("Content-Type")) {
		return &problem{Status: http.StatusUnsupportedMediaType, Detail: "send the request as application/json"}
	}
	limit, items := h.Limits.JSON, maxItems
	if _, ok := out.(*client.Batch); ok {
		limit, items = h.Limits.BatchJSON, h.Limits.Batch
	}
	body := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		return bodyProblem(err)
	}
	if longArray(body.Bytes(), items) {
		return &problem{Status: http.StatusUnprocessableEntity, Detail: fmt.Sprintf("a list of the body has more than %d items", items)}
	}
	if err := decodeStrict(body.Bytes(), out); err != nil {
		return &problem{Status: http.StatusBadRequest, Detail: err.Error()}
	}
	return nil
}

// bodies are buffers for requests: a batch is some megabytes long, and everything
// in it that is kept is copied.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxItems is how many items a list in a request has at most, but for a batch's.
const maxItems = 100

// longArray reports whether an array that is a member of the text has more than
// most items. It is asked before the text is decoded: two bytes of an array, such as
// "0,", would become an item a hundred times as large, even where no number belongs.
// The text may be anything; of what is not JSON the decoder says so.
func longArray(text []byte, most int) bool {
	depth, items := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = endOfString(text, i)
		case '[', '{':
			if depth++; depth == 2 {
				items = 1
			}
		case ']', '}':
			depth--
		case ',':
			if depth != 2 {
				continue
			}
			if items++; items > most {
				return true
			}
		}
	}
	return false
}

// endOfString returns where the string that begins at i ends, or the text's end.
func endOfString(text []byte, i int) int {
	for i++; i < len(text); i++ {
		at := bytes.IndexByte(text[i:], '"')
		if at < 0 {
			return len(text)
		}
		first := i
		i += at
		escapes := 0
		for i-escapes > first && text[i-escapes-1] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
	}
	return i
}

// isJSON reports whether a Content-Type is JSON in UTF-8.
func isJSON(contentType string) bool {
	kind, parameter, has := strings.Cut(contentType, ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return false
	}
	parameter = strings.ToLower(strings.TrimSpace(parameter))
	return !has || parameter == "charset=utf-8" || parameter == `charset="utf-8"`
}

// bodyProblem says what went wrong while a body was read.
func bodyProblem(err error) error {
	tooLarge := new(http.MaxBytesError)
	switch {
	case errors.As(err, &tooLarge):
		return &problem{
			Status: http.StatusRequestEntityTooLarge,
			Detail: fmt.Sprintf("the body is over the limit of %d bytes", tooLarge.Limit),
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &problem{Status: http.StatusBadRequest, Detail: "the body ended before it was whole; send it again"}
	}
	return fmt.Errorf("reading a body: %w", err)
}

// decodeStrict reads JSON into out. What its errors say names no value of the
// request.
func decodeStrict(text []byte, out any) error {
	if !utf8.Valid(text) {
		return errors.New("the body is not UTF-8")
	}
	if err := json.Unmarshal(text, out); err != nil {
		wrongType := new(json.UnmarshalTypeError)
		if errors.As(err, &wrongType) && wrongType.Field != "" && knownField(reflect.TypeOf(out).Elem(), wrongType.Field) {
			return fmt.Errorf("the member %s is of another type", wrongType.Field)
		}
		syntax := new(json.SyntaxError)
		if errors.As(err, &syntax) {
			return fmt.Errorf("the body is not JSON: an error at byte %d", syntax.Offset)
		}
		return errors.New("a member of the body is not of the form that it must have")
	}
	s := &shape{text: text}
	if err := s.value(reflect.TypeOf(out).Elem()); err != nil {
		return err
	}
	return checkCodes(reflect.ValueOf(out).Elem())
}

// knownField reports whether a dotted name is one of a wire type's own: an error
// must not repeat what a client made up.
func knownField(t reflect.Type, name string) bool {
	first, rest, more := strings.Cut(name, ".")
	for t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	m, ok := membersOf(t).byName[first]
	return ok && (!more || knownField(m.typ, rest))
}

// member is a member of a wire type.
type member struct {
	index    int
	name     string
	required bool
	typ      reflect.Type
}

type members struct {
	byName   map[string]member
	required uint64 // a bit for each index
	names    []string
}

var memberCache sync.Map // reflect.Type -> *members

func membersOf(t reflect.Type) *members {
	if m, ok := memberCache.Load(t); ok {
		return m.(*members)
	}
	m := &members{byName: make(map[string]member), names: make([]string, t.NumField())}
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		m.names[i] = name
		required := options == ""
		m.byName[name] = member{i, name, required, t.Field(i).Type}
		if required {
			m.required |= 1 << i
		}
	}
	memberCache.Store(t, m)
	return m
}

// shape walks over JSON that is known to be valid, and to fit the type as far as
// encoding/json cares.
type shape struct {
	text []byte
	i    int
}

func (s *shape) space() {
	for s.i < len(s.text) {
		switch s.text[s.i] {
		case ' ', '\t', '\n', '\r', ',', ':':
			s.i++
		default:
			return
		}
	}
}

var idType = reflect.TypeFor[events.ID]()

// value walks over a value of a type.
func (s *shape) value(t reflect.Type) error {
	s.space()
	switch c := s.text[s.i]; {
	case c == 'n':
		return errors.New("null is no value here; leave the member out")
	case c == '{':
		if t.Kind() != reflect.Struct {
			return errors.New("an object stands where none belongs")
		}
		return s.object(t)
	case c == '[':
		if t.Elem().Kind() == reflect.Uint8 {
			return errors.New("bytes are written in base64")
		}
		s.i++
		for s.space(); s.text[s.i] != ']'; s.space() {
			if err := s.value(t.Elem()); err != nil {
				return err
			}
		}
		s.i++
		return nil
	case c == '"':
		text, err := s.str()
		if err == nil && t == idType && len(text) == 0 {
			err = errors.New("an id is empty; leave the member out")
		}
		return err
	}
	for s.i < len(s.text) && !bytes.ContainsRune([]byte(" \t\r\n,]}"), rune(s.text[s.i])) {
		s.i++
	}
	return nil
}

func (s *shape) object(t reflect.Type) error {
	known := membersOf(t)
	var seen uint64
	s.i++
	for s.space(); s.text[s.i] != '}'; s.space() {
		name, err := s.str()
		if err != nil {
			return err
		}
		m, ok := known.byName[string(name)]
		switch {
		case !ok:
			return errors.New("the body has a member that is not known here; members are spelt exactly as documented")
		case seen&(1<<m.index) != 0:
			return fmt.Errorf("the member %s stands twice", m.name)
		}
		seen |= 1 << m.index
		if err := s.value(m.typ); err != nil {
			return err
		}
	}
	s.i++
	if missing := known.required &^ seen; missing != 0 {
		for i, name := range known.names {
			if missing&(1<<i) != 0 {
				return fmt.Errorf("the member %s is missing", name)
			}
		}
	}
	return nil
}

// str walks over a string and returns what stands between its quotes, with its
// escapes. A surrogate without its other half is no text.
func (s *shape) str() ([]byte, error) {
	s.i++
	first := s.i
	for {
		at := bytes.IndexAny(s.text[s.i:], `"\`)
		s.i += at
		if s.text[s.i] == '"' {
			s.i++
			return s.text[first : s.i-1], nil
		}
		if s.text[s.i+1] != 'u' {
			s.i += 2
			continue
		}
		switch half := hex4(s.text[s.i+2:]); {
		case half < 0xd800 || half > 0xdfff:
			s.i += 6
		case half < 0xdc00 && s.text[s.i+6] == '\\' && s.text[s.i+7] == 'u' && hex4(s.text[s.i+8:])&^0x3ff == 0xdc00:
			s.i += 12
		default:
			return nil, errors.New("a text of the body is not Unicode")
		}
	}
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (n int) {
	for _, c := range b[:4] {
		n <<= 4
		switch {
		case c >= 'a':
			n |= int(c-'a') + 10
		case c >= 'A':
			n |= int(c-'A') + 10
		default:
			n |= int(c - '0')
		}
	}
	return n
}

// checkCodes checks that the codes of a request are known ones. Those of a batch
// are checked item by item, each of which has its own outcome.
func checkCodes(v reflect.Value) error {
	if v.Type() == reflect.TypeFor[client.Batch]() {
		return nil
	}
	for i := range v.NumField() {
		field := v.Field(i)
		if field.IsZero() {
			continue
		}
		name := membersOf(v.Type()).names[i]
		if err := checkCode(field, name); err != nil {
			return err
		}
		if field.Kind() != reflect.Slice {
			continue
		}
		for j := range field.Len() {
			if err := checkCode(field.Index(j), name); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkCode(v reflect.Value, name string) error {
	if code, ok := v.Interface().(interface{ Valid() bool }); ok && !code.Valid() {
		return fmt.Errorf("the member %s has a code that is not known", name)
	}
	return nil
}
