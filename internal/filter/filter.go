// Package filter decides with an expression of the Common Expression Language
// (CEL, https://cel.dev) whether an event is wanted. Field names are the JSON
// names, from the tags of package event:
//
//	kind == "exec" && process.exe.startsWith("/tmp/")
//	exec.args.exists(a, a == "-i") && process.parent.comm == "nginx"
//	process.ancestors.exists(p, p.exe == "/usr/sbin/sshd")
//	kind == "exit" && exit.cpu_ns > duration("10s")
//	cap(process.creds.cap_effective, "SYS_ADMIN")
//
// A part that an event does not have (the exec of an exit event, the parent of
// init) reads as empty; has(x.y) tells whether it is there. Strings are the
// bytes of the process as they are, which need not be UTF-8.
//
// Evaluation is bounded by a cost limit, so that no expression can stall its
// reader.
package filter

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/near"
)

// Limits of one expression.
const (
	maxSize  = 4096    // characters
	maxDepth = 64      // nested parts
	maxCost  = 250_000 // per event; a walk over 128 KiB of text costs 13,000
)

// Compiler compiles expressions. Any goroutine may use it.
type Compiler struct {
	mu   sync.Mutex // the provider notes unknown fields during a compilation
	env  *cel.Env
	prov *provider
}

// NewCompiler builds the environment in which expressions are compiled. It
// takes milliseconds: build one and keep it.
func NewCompiler() (*Compiler, error) {
	base, err := cel.NewEnv()
	if err != nil {
		return nil, fmt.Errorf("build filter environment: %w", err)
	}
	prov := newProvider(base.CELTypeProvider())
	opts := []cel.EnvOption{
		cel.CustomTypeProvider(prov), cel.CustomTypeAdapter(prov),
		cel.ParserExpressionSizeLimit(maxSize), cel.ExpressionNestingDepthLimit(maxDepth), cel.ParserRecursionLimit(maxDepth),
		cel.DefaultUTCTimeZone(true), ext.Strings(), capFunction(),
	}
	for _, f := range prov.event.list {
		opts = append(opts, cel.Variable(f.name, f.typ))
	}
	env, err := cel.NewCustomEnv(append([]cel.EnvOption{cel.StdLib()}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("build filter environment: %w", err)
	}
	return &Compiler{env: env, prov: prov}, nil
}

// Filter is a compiled expression. Any goroutine may use it.
type Filter struct {
	text string
	prog cel.Program
	prov *provider
}

// Compile compiles an expression. The error is an *Error, or an Errors when
// there are several mistakes.
func (c *Compiler) Compile(text string) (*Filter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prov.misses = c.prov.misses[:0]
	ast, issues := c.env.Compile(text)
	if issues.Err() != nil {
		return nil, c.explain(issues)
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, &Error{Line: 1, Column: 1, Msg: fmt.Sprintf("the expression gives %s, a filter must give true or false", ast.OutputType())}
	}
	prog, err := c.env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, &Error{Line: 1, Column: 1, Msg: event.Safe(err.Error())}
	}
	return &Filter{text: text, prog: prog, prov: c.prov}, nil
}

// String returns the expression.
func (f *Filter) String() string { return f.text }

// Match reports whether ev is wanted. It keeps nothing of ev. An error (a
// division by zero, an index out of range, too much work) means that the
// expression can't tell.
func (f *Filter) Match(ev *event.Event) (bool, error) {
	out, _, err := f.prog.Eval(&activation{prov: f.prov, ev: ev})
	if err != nil {
		return false, fmt.Errorf("evaluate filter: %s", event.Safe(err.Error()))
	}
	b, ok := out.Value().(bool)
	if !ok {
		return false, errors.New("evaluate filter: the result is neither true nor false")
	}
	return b, nil
}

// activation gives an expression the fields of one event.
type activation struct {
	prov *provider
	ev   *event.Event
}

// ResolveName implements cel.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	f, ok := a.prov.event.fields[name]
	if !ok {
		return nil, false
	}
	return f.get(valueOf(a.ev)), true
}

// Parent implements cel.Activation.
func (a *activation) Parent() cel.Activation { return nil }

// Error is one mistake in an expression.
type Error struct {
	Line, Column int // from 1
	Msg          string
}

// Error tells the mistake as line:column: message.
func (e *Error) Error() string { return fmt.Sprintf("filter %d:%d: %s", e.Line, e.Column, e.Msg) }

// Errors are all mistakes of one expression.
type Errors []*Error

// Error lists the mistakes, one a line.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

func (c *Compiler) explain(issues *cel.Issues) error {
	var errs Errors
	field, name := regexp.MustCompile(`undefined field '([^']*)'`), regexp.MustCompile(`undeclared reference to '([^']*)'`)
	for _, e := range issues.Errors() {
		msg := event.Safe(strings.TrimSpace(e.Message))
		if m := field.FindStringSubmatch(msg); m != nil {
			msg = c.prov.hintField(m[1])
		} else if m := name.FindStringSubmatch(msg); m != nil {
			msg = c.hintName(m[1])
		}
		errs = append(errs, &Error{Line: max(e.Location.Line(), 1), Column: max(e.Location.Column()+1, 1), Msg: msg})
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errs
}

func (c *Compiler) hintName(name string) string {
	known := []string{"cap", "duration", "timestamp", "size", "matches", "has", "startsWith", "endsWith", "contains"}
	for _, f := range c.prov.event.list {
		known = append(known, f.name)
	}
	if where := c.prov.owners(name); len(where) > 0 {
		return fmt.Sprintf("there is no %s of its own; did you mean %s?", name, strings.Join(where, " or "))
	}
	if n, ok := near.Find(name, known); ok && n != name {
		return fmt.Sprintf("there is no %s; did you mean %s?", name, n)
	}
	return fmt.Sprintf("there is no %s; `merlon events --fields` lists what there is", name)
}
