package config

import (
	"bytes"
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/near"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// Load reads the file at path over the defaults and validates the result. The
// error holds every mistake (Errors) or says why the file can't be read.
func Load(path string) (*Config, error) {
	st, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read configuration: %w; without --config the defaults are used", err)
		}
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if st.Size() > maxFile {
		return nil, fmt.Errorf("read configuration: %s has %d bytes, the limit is %d", path, st.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Decode(path, data)
}

// Decode reads YAML over the defaults and validates the result; name is what
// errors call the file.
func Decode(name string, data []byte) (*Config, error) {
	c := Default()
	d := &decoder{file: name, places: map[string]place{}}
	if len(data) > maxFile {
		d.errorf(place{}, "", "the file has %d bytes, the limit is %d", len(data), maxFile)
		return nil, d.errs
	}
	d.document(data, c)
	if len(d.errs) == 0 {
		for _, e := range c.check() {
			p := d.places[e.Key]
			d.errs = append(d.errs, &Error{File: name, Line: p.line, Column: p.column, Key: e.Key, Msg: e.Msg})
		}
	}
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs, func(a, b *Error) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Key, b.Key))
		})
		return nil, d.errs
	}
	return c, nil
}

type place struct{ line, column int }

func placeOf(n ast.Node) place {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return place{}
	}
	return place{n.GetToken().Position.Line, n.GetToken().Position.Column}
}

type decoder struct {
	file   string
	errs   Errors
	places map[string]place // of each key that the file sets
}

func (d *decoder) errorf(p place, key, format string, args ...any) {
	d.errs = append(d.errs, &Error{File: d.file, Line: p.line, Column: p.column, Key: key, Msg: fmt.Sprintf(format, args...)})
}

func (d *decoder) document(data []byte, c *Config) {
	if at := invalidUTF8(data); at >= 0 {
		d.errorf(place{bytes.Count(data[:at], []byte("\n")) + 1, at - bytes.LastIndexByte(data[:at], '\n')}, "", "not valid YAML: the file is not UTF-8")
		return
	}
	f, err := parse(data)
	if err != nil {
		p, msg := place{}, err.Error()
		var se *yaml.SyntaxError
		if errors.As(err, &se) && se.Token != nil && se.Token.Position != nil {
			p, msg = place{se.Token.Position.Line, se.Token.Position.Column}, se.Message
		}
		d.errorf(p, "", "not valid YAML: %s", event.Safe(msg))
		return
	}
	var body ast.Node
	for _, doc := range f.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.CommentGroupType:
		case body != nil:
			d.errorf(placeOf(doc.Body), "", "the file has more than one document; keep one")
			return
		default:
			body = doc.Body
		}
	}
	if body != nil && body.Type() != ast.NullType {
		d.section(body, reflect.ValueOf(c).Elem(), "", c)
	}
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// parse wraps the library's parser, which is not proof against every input.
func parse(data []byte) (f *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			f, err = nil, fmt.Errorf("the parser gave up: %v", r)
		}
	}()
	return parser.ParseBytes(data, 0)
}

func (d *decoder) section(n ast.Node, v reflect.Value, path string, c *Config) {
	var pairs []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{m}
	default:
		d.errorf(placeOf(n), path, "wants a section of keys, found %s", n.Type().YAMLName())
		return
	}
	known := fields(v, path)
	for _, pair := range pairs {
		name, p := keyName(pair.Key), placeOf(pair.Key)
		i := index(known, name)
		if i < 0 {
			d.unknown(p, path, name, known, c)
			continue
		}
		f := known[i]
		if _, twice := d.places[f.path]; twice {
			d.errorf(p, f.path, "is set twice")
			continue
		}
		d.places[f.path] = p
		switch {
		case !f.section():
			d.scalar(pair.Value, f, p)
		case pair.Value != nil && pair.Value.Type() != ast.NullType:
			d.section(pair.Value, f.value, f.path, c)
		}
	}
}

func keyName(n ast.MapKeyNode) string {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value
	}
	return n.String()
}

func index(known []field, name string) int {
	for i, f := range known {
		if f.name == name {
			return i
		}
	}
	return -1
}

// unknown tells of a key that does not exist, with the sibling it resembles,
// or the key of that name in another section.
func (d *decoder) unknown(p place, section, name string, known []field, c *Config) {
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.name
	}
	key := name
	if section != "" {
		key = section + "." + name
	}
	hint, ok := near.Find(name, names)
	if ok && section != "" {
		hint = section + "." + hint
	}
	if !ok {
		var all, paths []string
		c.walk(func(f field, _ int) { all, paths = append(all, f.name), append(paths, f.path) })
		if n, found := near.Find(name, all); found {
			for i := range all {
				if all[i] == n {
					hint, ok = paths[i], true
					break
				}
			}
		}
	}
	if !ok {
		d.errorf(p, event.Safe(key), "unknown key; `merlon config print` lists all")
		return
	}
	d.errorf(p, event.Safe(key), "unknown key; did you mean %s?", hint)
}

// scalar decodes the value of one key.
func (d *decoder) scalar(n ast.Node, f field, keyPlace place) {
	p := placeOf(n)
	if n == nil || n.Type() == ast.NullType {
		d.errorf(keyPlace, f.path, "has no value; it wants %s", f.typeName())
		return
	}
	if f.value.Kind() == reflect.Slice {
		d.list(n, f)
		return
	}
	if err := setScalar(n, f.value); err != nil {
		if errors.Is(err, errType) {
			err = fmt.Errorf("wants %s, found %s", f.typeName(), describe(n))
		}
		d.errorf(p, f.path, "%v", err)
	}
}

func (d *decoder) list(n ast.Node, f field) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.errorf(placeOf(n), f.path, "wants %s, found %s", f.typeName(), describe(n))
		return
	}
	out := reflect.MakeSlice(f.value.Type(), len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		if item == nil || setScalar(item, out.Index(i)) != nil {
			d.errorf(placeOf(item), f.path, "entry %d: wants %s", i+1, f.typeName())
		}
	}
	f.value.Set(out)
}

var errType = errors.New("wrong type")

// setScalar stores one YAML scalar in v, without guessing: a number is not a
// string and a string is not a number.
func setScalar(n ast.Node, v reflect.Value) error {
	text, isString := "", false
	switch x := n.(type) {
	case *ast.StringNode:
		text, isString = x.Value, true
	case *ast.LiteralNode:
		text, isString = x.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		text = n.GetToken().Value
	default:
		return errType
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		if !isString {
			return fmt.Errorf("wants a string, found %s; put it in quotes", describe(n))
		}
		v.SetString(text)
		return nil
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			return errType
		}
		v.SetBool(b.Value)
		return nil
	case reflect.Int, reflect.Uint32:
		if _, ok := n.(*ast.IntegerNode); !ok {
			return errType
		}
		return setInteger(text, v)
	}
	return errType
}

func setInteger(text string, v reflect.Value) error {
	i, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return errType
	}
	if v.Kind() == reflect.Int {
		v.SetInt(i)
		return nil
	}
	if i < 0 || i > math.MaxUint32 {
		return fmt.Errorf("%d is not a user or group id", i)
	}
	v.SetUint(uint64(i))
	return nil
}

// describe says what a node is, for an error message.
func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a section"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias, which are not supported"
	case *ast.TagNode:
		return "a tag, which is not supported"
	}
	return fmt.Sprintf("the %s %s", n.Type().YAMLName(), event.Safe(cut(n.GetToken().Value)))
}
