package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// printer writes to standard output. Its methods may be called by any
// goroutine, whole lines at a time.
type printer struct {
	*painter
	file  *os.File
	width atomic.Int32 // columns; 0: don't cut
	kinds atomic.Int32 // width of the column of kinds

	mu sync.Mutex
	w  *bufio.Writer
}

func newPrinter(f *os.File) *printer {
	p := &printer{painter: newPainter(f), file: f, w: bufio.NewWriterSize(f, 32<<10)}
	p.resize()
	return p
}

// resize asks the terminal for its width, if it is one.
func (p *printer) resize() {
	if w, _, err := term.GetSize(int(p.file.Fd())); err == nil && w > 20 {
		p.width.Store(int32(w))
	}
}

// follow keeps up with changes of the terminal's size, until ctx ends or the
// returned function is called.
func (p *printer) follow(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	sizes := make(chan os.Signal, 1)
	signal.Notify(sizes, syscall.SIGWINCH)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer signal.Stop(sizes)
		for {
			select {
			case <-sizes:
				p.resize()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// columns returns the width of the terminal; 0 when lines must not be cut.
func (p *printer) columns() int { return int(p.width.Load()) }

// line writes one line, or several, and a newline.
func (p *printer) line(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.w.WriteString(s) // flush tells the error
	_ = p.w.WriteByte('\n')
}

func (p *printer) linef(format string, args ...any) { p.line(fmt.Sprintf(format, args...)) }

// flush writes what is buffered.
func (p *printer) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// json writes v, indented, safe for a terminal.
func (p *printer) json(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	p.line(safeJSON(b))
	return nil
}

// jsonLine writes v as one line.
func (p *printer) jsonLine(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(`{"error":"an item could not be written as JSON"}`)
	}
	p.line(safeJSON(b))
}

// safeJSON escapes the control characters that JSON allows to stand in
// strings: DEL and the C1 controls, which terminals obey. Outside strings they
// can't stand at all.
func safeJSON(b []byte) string {
	var out strings.Builder
	out.Grow(len(b))
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			if b[i] == 0x7f {
				out.WriteString(`\u007f`)
			} else {
				out.WriteByte(b[i])
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			out.WriteString(`\ufffd`)
		case r < 0xa0 || unicode.Is(unicode.Bidi_Control, r):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.Write(b[i : i+n])
		}
		i += n
	}
	return out.String()
}

// painter colours text for a terminal, or leaves it plain.
type painter struct{ colours bool }

// newPainter decides by where the text goes: NO_COLOR (https://no-color.org)
// and TERM=dumb switch colours off.
func newPainter(w io.Writer) *painter {
	f, ok := w.(*os.File)
	on := ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &painter{on}
}

func (p *painter) paint(code, s string) string {
	if !p.colours || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *painter) bold(s string) string    { return p.paint("1", s) }
func (p *painter) dim(s string) string     { return p.paint("2", s) }
func (p *painter) red(s string) string     { return p.paint("1;31", s) }
func (p *painter) green(s string) string   { return p.paint("32", s) }
func (p *painter) yellow(s string) string  { return p.paint("33", s) }
func (p *painter) blue(s string) string    { return p.paint("34", s) }
func (p *painter) magenta(s string) string { return p.paint("35", s) }
func (p *painter) cyan(s string) string    { return p.paint("36", s) }
func (p *painter) alarm(s string) string   { return p.paint("1;97;41", s) }

// columns returns how many columns s takes on a terminal. s holds no control
// characters (event.Safe).
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// runeWidth is 0 for combining marks, 2 for the scripts and symbols that
// terminals draw wide (Unicode's East Asian Width, in blocks), else 1.
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6,
		r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// fit cuts s to at most width columns, with an ellipsis where it was cut. A
// width of 0 or less doesn't cut.
func fit(s string, width int) string {
	if width <= 0 || len(s) <= width || columns(s) <= width {
		return s
	}
	n := 0
	for i, r := range s {
		if n+runeWidth(r) > width-1 {
			return s[:i] + "…"
		}
		n += runeWidth(r)
	}
	return s
}

// pad fills s to width columns, or cuts it to them.
func pad(s string, width int) string {
	s = fit(s, width)
	return s + strings.Repeat(" ", max(0, width-columns(s)))
}

// table aligns rows of cells. Cells must be free of control characters and
// colours; paint colours a padded cell, and may be nil.
func table(rows [][]string, paint func(row, col int, cell string) string) []string {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columns(c))
		}
	}
	lines := make([]string, len(rows))
	for r, row := range rows {
		var b strings.Builder
		for i, c := range row {
			if i < len(row)-1 {
				c = pad(c, widths[i])
			}
			if paint != nil {
				c = paint(r, i, c)
			}
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(c)
		}
		lines[r] = strings.TrimRight(b.String(), " ")
	}
	return lines
}
