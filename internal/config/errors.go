package config

import (
	"fmt"
	"strings"
)

// Error is one mistake in a configuration.
type Error struct {
	File         string // empty when the value came from elsewhere (a flag, a default)
	Line, Column int    // from 1; 0 when unknown
	Key          string // path of the key, like log.level; empty for the whole document
	Msg          string
}

// Error tells the mistake as file:line:column: key: message.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
		if e.Line > 0 {
			fmt.Fprintf(&b, "%d:%d:", e.Line, e.Column)
		}
		b.WriteByte(' ')
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Msg)
	return b.String()
}

// Errors are all mistakes of one configuration, in the order of the file.
type Errors []*Error

// Error lists the mistakes, one a line.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}
