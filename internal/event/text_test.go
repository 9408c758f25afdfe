package event

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzTextRoundTrip(f *testing.F) {
	for _, s := range []string{"", "plain", "\xff\xfe", "a\x00\x1b[31m\n", `\ud800 "quoted"`, "\u2028é\u0085😀", "\xed\xb2\x80", "\xf0\x9f\x98", "</script>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := json.Marshal(Text(s))
		if err != nil {
			t.Fatalf("marshal %q: %v", s, err)
		}
		if !json.Valid(b) || !utf8.Valid(b) {
			t.Fatalf("%q became %q, which is not JSON", s, b)
		}
		for _, c := range string(b) {
			if c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0xa0) {
				t.Fatalf("%q became %q, with a control character", s, b)
			}
		}
		var back Text
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("unmarshal %q: %v", b, err)
		}
		if string(back) != s {
			t.Fatalf("%q came back as %q", s, string(back))
		}
	})
}

// FuzzTextForeign reads strings that others wrote: what is plain Unicode must
// come out as encoding/json reads it.
func FuzzTextForeign(f *testing.F) {
	for _, s := range []string{`"a\u00e9\ud83d\ude00\n"`, `"\ud800x"`, `"\/\b\f\r\t\"\\"`, `"\udcff"`, `null`, `3`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got Text
		var want string
		err, wantErr := json.Unmarshal([]byte(s), &got), json.Unmarshal([]byte(s), &want)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%s: error %v, encoding/json says %v", s, err, wantErr)
		}
		if err == nil && !strings.Contains(strings.ToLower(s), `\ud`) && utf8.ValidString(s) && string(got) != want {
			t.Fatalf("%s: %q, encoding/json reads %q", s, string(got), want)
		}
	})
}

func FuzzSafe(f *testing.F) {
	f.Add("\x1b[2J\u202e\u200b\xff\u0085")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range Safe(s) {
			if r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == utf8.RuneError && !strings.ContainsRune(s, utf8.RuneError) {
				t.Fatalf("%q shows %U", s, r)
			}
		}
	})
}

func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 日本":   "plain é 日本",
		"a\nb\tc\x00":  `a\nb\tc\x00`,
		"\x1b]0;x\x07": `\x1b]0;x\x07`,
		"\xff":         `\xff`,
		"\u202eexe":    `\u{202e}exe`,
		`back\slash`:   `back\slash`,
	} {
		if got := Safe(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
