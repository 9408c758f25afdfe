package kernel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// trim keeps the named programs of spec and the maps that they use; no names
// keep all programs. Entries of program arrays that name dropped programs go
// too, so that a tail call into one falls through.
func trim(spec *ebpf.CollectionSpec, programs []string) error {
	for _, name := range programs {
		if spec.Programs[name] == nil {
			return fmt.Errorf("find program %s: not in this object", name)
		}
	}
	if len(programs) > 0 {
		for name := range spec.Programs {
			if !slices.Contains(programs, name) {
				delete(spec.Programs, name)
			}
		}
	}
	used := usedMaps(spec)
	for name, m := range spec.Maps {
		if !used[name] {
			delete(spec.Maps, name)
			continue
		}
		m.Contents = slices.DeleteFunc(slices.Clone(m.Contents), func(kv ebpf.MapKV) bool {
			ref, ok := kv.Value.(string)
			return ok && spec.Programs[ref] == nil && spec.Maps[ref] == nil
		})
	}
	return nil
}

// usedMaps returns the maps that the programs of spec use, directly or as
// initial members of maps of maps.
func usedMaps(spec *ebpf.CollectionSpec) map[string]bool {
	used := map[string]bool{}
	var use func(name string)
	use = func(name string) {
		m := spec.Maps[name]
		if m == nil || used[name] {
			return
		}
		used[name] = true
		for _, kv := range m.Contents {
			if ref, ok := kv.Value.(string); ok {
				use(ref)
			}
		}
	}
	for _, p := range spec.Programs {
		for i := range p.Instructions {
			if ins := &p.Instructions[i]; ins.IsLoadFromMap() {
				use(ins.Reference())
			}
		}
	}
	return used
}

// setKnobs sets variables of .rodata, before the verifier reads them. A Go
// integer or bool takes the variable's size; anything else must have it.
func setKnobs(spec *ebpf.CollectionSpec, knobs map[string]any) error {
	for name, value := range knobs {
		v := spec.Variables[name]
		if v == nil || !v.Constant() {
			return fmt.Errorf("set knob %s: no such .rodata variable", name)
		}
		if err := v.Set(sized(value, v.Size())); err != nil {
			return fmt.Errorf("set knob %s: %w", name, err)
		}
		if err := bake(spec.Maps[v.SectionName], v); err != nil {
			return fmt.Errorf("set knob %s: %w", name, err)
		}
	}
	// Live variables would map the data sections into our memory, and hold the
	// maps until a garbage collection after Close. Nobody needs them.
	spec.Variables = nil
	return nil
}

// bake writes a variable into the initial contents of its data section.
func bake(section *ebpf.MapSpec, v *ebpf.VariableSpec) error {
	if section == nil || len(section.Contents) != 1 {
		return errors.New("no such data section")
	}
	old, ok := section.Contents[0].Value.([]byte)
	if !ok || int(v.Offset)+len(v.Value) > len(old) {
		return errors.New("outside its data section")
	}
	data := slices.Clone(old) // the copied spec shares it with the caller's
	copy(data[v.Offset:], v.Value)
	section.Contents = []ebpf.MapKV{{Key: uint32(0), Value: data}}
	return nil
}

// sized gives an int, uint or bool the size that the variable has.
func sized(value any, size uint32) any {
	var n uint64
	switch x := value.(type) {
	case int:
		n = uint64(x)
	case uint:
		n = uint64(x)
	case bool:
		if x {
			n = 1
		}
	default:
		return value
	}
	switch size {
	case 1:
		return uint8(n)
	case 2:
		return uint16(n)
	case 4:
		return uint32(n)
	case 8:
		return n
	}
	return value
}
