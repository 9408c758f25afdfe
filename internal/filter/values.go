package filter

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/merlon/merlon/internal/event"
)

// object is a noun as a CEL value.
type object struct {
	v  reflect.Value // the struct
	st *structType
}

// ConvertToNative implements ref.Val.
func (o *object) ConvertToNative(t reflect.Type) (any, error) {
	if o.v.Type().AssignableTo(t) {
		return o.v.Interface(), nil
	}
	return nil, fmt.Errorf("convert %s to %s: not possible", o.st.name, t)
}

// ConvertToType implements ref.Val.
func (o *object) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return o.st.typ
	}
	return types.NewErr("%s can't become %s", o.st.name, t.TypeName())
}

// Equal implements ref.Val.
func (o *object) Equal(other ref.Val) ref.Val {
	b, ok := other.(*object)
	return types.Bool(ok && o.st == b.st && reflect.DeepEqual(o.v.Interface(), b.v.Interface()))
}

// Type implements ref.Val.
func (o *object) Type() ref.Type { return o.st.typ }

// Value implements ref.Val.
func (o *object) Value() any { return o }

// IsSet implements traits.FieldTester.
func (o *object) IsSet(name ref.Val) ref.Val {
	f, err := o.field(name)
	if err != nil {
		return err
	}
	return types.Bool(f.set(o.v))
}

// Get implements traits.Indexer.
func (o *object) Get(name ref.Val) ref.Val {
	f, err := o.field(name)
	if err != nil {
		return err
	}
	return f.get(o.v)
}

func (o *object) field(name ref.Val) (*fieldType, ref.Val) {
	s, ok := name.(types.String)
	if !ok {
		return nil, types.MaybeNoSuchOverloadErr(name)
	}
	f, ok := o.st.fields[string(s)]
	if !ok {
		return nil, types.NewErr("no such field: %s", event.Safe(string(s)))
	}
	return f, nil
}

// capSet is a set of capabilities as a CEL value.
type capSet event.CapSet

// ConvertToNative implements ref.Val.
func (c capSet) ConvertToNative(t reflect.Type) (any, error) {
	if t == reflect.TypeFor[event.CapSet]() {
		return event.CapSet(c), nil
	}
	return nil, fmt.Errorf("convert capabilities to %s: not possible", t)
}

// ConvertToType implements ref.Val.
func (c capSet) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("capabilities can't become %s", t.TypeName())
}

// Equal implements ref.Val.
func (c capSet) Equal(other ref.Val) ref.Val {
	o, ok := other.(capSet)
	return types.Bool(ok && o == c)
}

// Type implements ref.Val.
func (c capSet) Type() ref.Type { return cel.ObjectType(capSetName) }

// Value implements ref.Val.
func (c capSet) Value() any { return event.CapSet(c) }

// capFunction declares cap(set, name): whether a capability is in a set.
func capFunction() cel.EnvOption {
	known := (event.CapSet(1)<<41 - 1).Names()
	return cel.Function("cap", cel.Overload("cap_set_string",
		[]*cel.Type{cel.ObjectType(capSetName), cel.StringType}, cel.BoolType,
		cel.BinaryBinding(func(set, name ref.Val) ref.Val {
			c, isSet := set.(capSet)
			n, isString := name.(types.String)
			if !isSet || !isString {
				return types.MaybeNoSuchOverloadErr(set)
			}
			upper := strings.ToUpper(string(n))
			if !slices.Contains(known, upper) && !slices.Contains(known, "CAP_"+upper) {
				return types.NewErr("there is no capability %s", event.Safe(string(n)))
			}
			return types.Bool(event.CapSet(c).Has(upper))
		})))
}
