package event

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Text is a string of bytes that some process chose: a path, an argument, a
// variable. It need not be UTF-8 and may hold control characters.
//
// JSON keeps every byte: a byte that is not part of valid UTF-8 becomes the
// lone surrogate U+DC80..U+DCFF, as in Python's surrogateescape (PEP 383), and
// comes back as that byte.
type Text string

const hexdigits = "0123456789abcdef"

// MarshalJSON writes t so that UnmarshalJSON restores the same bytes.
func (t Text) MarshalJSON() ([]byte, error) {
	return AppendJSON(make([]byte, 0, len(t)+2), string(t)), nil
}

// AppendJSON appends s to b as a JSON string in the encoding of Text.
func AppendJSON(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < 0x20 || c == 0x7f || c == '<' || c == '>' || c == '&':
				b = append(b, '\\', 'u', '0', '0', hexdigits[c>>4], hexdigits[c&15])
			default:
				b = append(b, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, '\\', 'u', 'd', 'c', hexdigits[c>>4], hexdigits[c&15])
		case r == '\u2028' || r == '\u2029' || (r >= 0x80 && r < 0xa0):
			b = append(b, '\\', 'u', hexdigits[r>>12&15], hexdigits[r>>8&15], hexdigits[r>>4&15], hexdigits[r&15])
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return append(b, '"')
}

// UnmarshalJSON restores the bytes that MarshalJSON wrote.
func (t *Text) UnmarshalJSON(b []byte) error {
	if !strings.Contains(string(b), `\u`) {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = Text(s)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil { // checks the syntax
		return err
	}
	out := make([]byte, 0, len(b))
	for in := b[1 : len(b)-1]; len(in) > 0; {
		if in[0] != '\\' {
			out = append(out, in[0])
			in = in[1:]
			continue
		}
		if in[1] != 'u' {
			out = append(out, unescape(in[1]))
			in = in[2:]
			continue
		}
		r := hex4(in[2:6])
		in = in[6:]
		switch {
		case r >= 0xdc80 && r <= 0xdcff:
			out = append(out, byte(r&0xff))
		case utf16.IsSurrogate(r) && len(in) >= 6 && in[0] == '\\' && in[1] == 'u':
			if c := utf16.DecodeRune(r, hex4(in[2:6])); c != utf8.RuneError {
				out = utf8.AppendRune(out, c)
				in = in[6:]
				continue
			}
			out = utf8.AppendRune(out, utf8.RuneError)
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	*t = Text(out)
	return nil
}

func unescape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

func hex4(b []byte) rune {
	n, _ := strconv.ParseUint(string(b), 16, 16) // json.Unmarshal has checked the digits
	return rune(n)
}

// Safe returns s in a form that is safe to print on a terminal: control
// characters, invalid UTF-8, and characters that reorder or hide text become
// \xHH or \u{H} escapes; a backslash stays as it is.
func Safe(s string) string {
	i := 0
	for i < len(s) && s[i] >= 0x20 && s[i] < 0x7f {
		i++
	}
	if i == len(s) {
		return s
	}
	b := make([]byte, i, len(s)+8)
	copy(b, s)
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r < 0x20 || r == 0x7f || (r == utf8.RuneError && n == 1):
			b = append(b, '\\', 'x', hexdigits[s[i]>>4], hexdigits[s[i]&15])
		case !strconv.IsPrint(r): // C1 controls, bidi overrides, zero width, private use
			b = append(b, `\u{`...)
			b = strconv.AppendInt(b, int64(r), 16)
			b = append(b, '}')
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return string(b)
}

// String returns t in the form of Safe: what %s and %v print never carries
// control characters. Use string(t) for the bytes.
func (t Text) String() string { return Safe(string(t)) }
