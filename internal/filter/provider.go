package filter

import (
	"fmt"
	"math"
	"reflect"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/event/fields"
	"github.com/merlon/merlon/internal/match/near"
)

// provider tells CEL the types of event fields, and turns their values into
// CEL's. Except for misses it is read-only once built.
type provider struct {
	types.Provider // CEL's own types
	structs        map[string]*structType
	byGo           map[reflect.Type]*structType
	event          *structType
	misses         []miss // unknown fields met by the compilation under way
}

type miss struct{ structName, field string }

// structType is a noun as CEL sees it.
type structType struct {
	name   string
	typ    *cel.Type
	zero   reflect.Value
	fields map[string]*fieldType
	list   []*fieldType
}

// fieldType is one of its fields.
type fieldType struct {
	name string
	typ  *cel.Type
	get  func(reflect.Value) ref.Val // from the struct
	set  func(reflect.Value) bool
}

func newProvider(base types.Provider) *provider {
	p := &provider{Provider: base, structs: map[string]*structType{}, byGo: map[reflect.Type]*structType{}}
	goTypes := fields.Structs(reflect.TypeFor[event.Event]())
	for _, t := range goTypes {
		name := "merlon." + t.Name()
		st := &structType{name: name, typ: cel.ObjectType(name), zero: reflect.New(t).Elem(), fields: map[string]*fieldType{}}
		p.structs[name], p.byGo[t] = st, st
	}
	for _, t := range goTypes {
		st := p.byGo[t]
		for _, f := range fields.Of(t) {
			ft := &fieldType{name: f.Name, typ: p.celType(f.Go)}
			if f.Index == fields.Ancestors {
				ft.get, ft.set = p.ancestors, func(v reflect.Value) bool { return process(v).Parent != nil }
			} else {
				convert := p.converter(f.Go)
				ft.get = func(v reflect.Value) ref.Val { return convert(v.Field(f.Index)) }
				ft.set = func(v reflect.Value) bool { return !v.Field(f.Index).IsZero() }
			}
			st.fields[f.Name] = ft
			st.list = append(st.list, ft)
		}
	}
	p.event = p.byGo[reflect.TypeFor[event.Event]()]
	return p
}

// capSetType is opaque: an expression can only compare it and ask cap().
const capSetName = "merlon.CapSet"

func (p *provider) celType(t reflect.Type) *cel.Type {
	switch t {
	case reflect.TypeFor[time.Time]():
		return cel.TimestampType
	case reflect.TypeFor[time.Duration]():
		return cel.DurationType
	case reflect.TypeFor[event.CapSet]():
		return cel.ObjectType(capSetName)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return p.celType(t.Elem())
	case reflect.Slice:
		return cel.ListType(p.celType(t.Elem()))
	case reflect.Struct:
		return p.byGo[t].typ
	case reflect.String:
		return cel.StringType
	case reflect.Bool:
		return cel.BoolType
	}
	return cel.IntType
}

// converter returns the function that turns a value of type t into CEL's. All
// numbers become int, so that `process.pid == 1` needs no suffix; those above
// 2^63-1 become that.
func (p *provider) converter(t reflect.Type) func(reflect.Value) ref.Val {
	switch t {
	case reflect.TypeFor[time.Time]():
		return func(v reflect.Value) ref.Val { return types.Timestamp{Time: v.Interface().(time.Time)} }
	case reflect.TypeFor[time.Duration]():
		return func(v reflect.Value) ref.Val { return types.Duration{Duration: time.Duration(v.Int())} }
	case reflect.TypeFor[event.CapSet]():
		return func(v reflect.Value) ref.Val { return capSet(v.Uint()) }
	}
	switch t.Kind() {
	case reflect.Pointer:
		return func(v reflect.Value) ref.Val {
			if v.IsNil() {
				return &object{p.byGo[t.Elem()].zero, p.byGo[t.Elem()]}
			}
			return &object{v.Elem(), p.byGo[t.Elem()]}
		}
	case reflect.Struct:
		return func(v reflect.Value) ref.Val { return &object{v, p.byGo[t]} }
	case reflect.Slice:
		return func(v reflect.Value) ref.Val { return types.NewDynamicList(p, v.Interface()) }
	case reflect.String:
		return func(v reflect.Value) ref.Val { return types.String(v.String()) }
	case reflect.Bool:
		return func(v reflect.Value) ref.Val { return types.Bool(v.Bool()) }
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		return func(v reflect.Value) ref.Val { return types.Int(min(v.Uint(), math.MaxInt64)) }
	}
	return func(v reflect.Value) ref.Val { return types.Int(v.Int()) }
}

func valueOf(ev *event.Event) reflect.Value { return reflect.ValueOf(ev).Elem() }

// process returns the Process that v holds.
func process(v reflect.Value) *event.Process {
	if v.CanAddr() {
		return v.Addr().Interface().(*event.Process)
	}
	p := v.Interface().(event.Process)
	return &p
}

func (p *provider) ancestors(v reflect.Value) ref.Val {
	var list []*event.Process
	for a := range process(v).Ancestors {
		list = append(list, a)
	}
	return types.NewDynamicList(p, list)
}

// NativeToValue implements types.Adapter, for the elements of lists.
func (p *provider) NativeToValue(value any) ref.Val {
	v := reflect.ValueOf(value)
	if !v.IsValid() {
		return types.DefaultTypeAdapter.NativeToValue(value)
	}
	if st := fields.Struct(v.Type()); st != nil && p.byGo[st] != nil && v.Kind() != reflect.Slice {
		return p.converter(v.Type())(v)
	}
	if v.Kind() == reflect.String {
		return types.String(v.String())
	}
	return types.DefaultTypeAdapter.NativeToValue(value)
}

// FindStructType implements types.Provider.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if st, ok := p.structs[name]; ok {
		return types.NewTypeTypeWithParam(st.typ), true
	}
	if name == capSetName {
		return types.NewTypeTypeWithParam(cel.ObjectType(capSetName)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	st, ok := p.structs[name]
	if !ok {
		return p.Provider.FindStructFieldNames(name)
	}
	return st.names(), true
}

func (st *structType) names() []string {
	names := make([]string, len(st.list))
	for i, f := range st.list {
		names[i] = f.name
	}
	return names
}

// FindStructFieldType implements types.Provider. It notes what it doesn't
// know, for the hint in the error.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	st, ok := p.structs[name]
	if !ok {
		return p.Provider.FindStructFieldType(name, field)
	}
	f, ok := st.fields[field]
	if !ok {
		p.misses = append(p.misses, miss{name, field})
		return nil, false
	}
	return &types.FieldType{
		Type:    f.typ,
		IsSet:   func(o any) bool { v, ok := structOf(o); return ok && f.set(v) },
		GetFrom: func(o any) (any, error) { return getFrom(o, f) },
	}, true
}

func getFrom(o any, f *fieldType) (any, error) {
	v, ok := structOf(o)
	if !ok {
		return nil, fmt.Errorf("read field %s: not an object", f.name)
	}
	return f.get(v), nil
}

func structOf(o any) (reflect.Value, bool) {
	obj, ok := o.(*object)
	if !ok {
		return reflect.Value{}, false
	}
	return obj.v, true
}

// NewValue implements types.Provider: expressions can't make nouns.
func (p *provider) NewValue(name string, f map[string]ref.Val) ref.Val {
	if _, ok := p.structs[name]; ok {
		return types.NewErr("%s can't be made in a filter", name)
	}
	return p.Provider.NewValue(name, f)
}

// hintField tells of an unknown field of a struct, with the one it resembles.
func (p *provider) hintField(field string) string {
	for _, m := range p.misses {
		if m.field != field {
			continue
		}
		st := p.structs[m.structName]
		name := st.name[len("merlon."):]
		if n, ok := near.Find(field, st.names()); ok {
			return fmt.Sprintf("%s has no field %s; did you mean %s?", name, field, n)
		}
		if where := p.owners(field); len(where) > 0 {
			return fmt.Sprintf("%s has no field %s; did you mean %s?", name, field, where[0])
		}
		return fmt.Sprintf("%s has no field %s; `merlon events --fields` lists what there is", name, field)
	}
	return "there is no field " + field
}

// owners lists where a field of that name is, from the event's own parts and
// the parts of its process.
func (p *provider) owners(field string) []string {
	var where []string
	var down func(st *structType, path string, depth int)
	down = func(st *structType, path string, depth int) {
		for _, f := range st.list {
			if f.name == field {
				where = append(where, path+f.name)
			}
			if next, ok := p.structs[f.typ.TypeName()]; ok && depth < 3 && f.name != "parent" {
				down(next, path+f.name+".", depth+1)
			}
		}
	}
	down(p.event, "", 0)
	return where[:min(len(where), 3)]
}
