package cli

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/filter"
)

// hostileActs are events of every kind that threads cause: one without its
// part, one with an empty part, and one whose every text is hostile and whose
// every number is large.
func hostileActs() []*event.Event {
	var list []*event.Event
	for _, a := range event.Abouts() {
		name := map[string]string{"dns": "DNS"}[a.Part]
		if name == "" {
			name = strings.ToUpper(a.Part[:1]) + a.Part[1:]
		}
		if a.Sensor == "" || a.Sensor == "process" {
			continue
		}
		for _, fill := range []func(reflect.Value){nil, func(reflect.Value) {}, fillHostile} {
			ev := &event.Event{Kind: a.Kind, Process: hostileProcess(), Thread: event.Thread{PID: 42, Comm: hostile}}
			if fill != nil {
				part := reflect.ValueOf(ev).Elem().FieldByName(name)
				part.Set(reflect.New(part.Type().Elem()))
				fill(part.Elem())
			}
			list = append(list, ev, &event.Event{Kind: a.Kind, File: ev.File, Mount: ev.Mount, Net: ev.Net, DNS: ev.DNS, Privilege: ev.Privilege})
		}
	}
	return list
}

func fillHostile(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillHostile(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fillHostile(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 9, 9))
		for i := range v.Len() {
			fillHostile(v.Index(i))
		}
	case reflect.String:
		v.SetString(hostile)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(-1 << (v.Type().Bits() - 2))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1<<v.Type().Bits() - 1)
	}
}

func TestTracesShowNothingRaw(t *testing.T) {
	for _, tr := range traces() {
		for _, ev := range hostileEvents() { // of other kinds too: the agent may be of another version
			line := traceLine(tr.cols, ev)
			checkSafe(t, "trace "+tr.name, line)
			if strings.Contains(line, "\n") || line == "" {
				t.Errorf("trace %s: %q", tr.name, line)
			}
		}
	}
}

// Every kind that a sensor reports can be looked at by a trace's name, and
// every trace's own events say something in each column.
func TestTracesCoverTheKinds(t *testing.T) {
	covered := map[event.Kind]bool{event.KindFork: true, event.KindTask: true, event.KindCgroup: true, event.KindLoss: true} // by their own names
	names := map[string]bool{}
	for _, tr := range traces() {
		if names[tr.name] || tr.about == "" || len(tr.kinds) == 0 || len(tr.cols) == 0 {
			t.Errorf("trace %+v", tr)
		}
		names[tr.name] = true
		for _, k := range tr.kinds {
			covered[k] = true
		}
	}
	for _, k := range event.Kinds() {
		if !covered[k] {
			t.Errorf("no trace shows %s", k)
		}
	}
}

func TestAboutsListEveryKind(t *testing.T) {
	var list []event.Kind
	for _, a := range event.Abouts() {
		list = append(list, a.Kind)
		if a.Meaning == "" || a.Part == "" {
			t.Errorf("%+v lacks something", a)
		}
	}
	if !slices.Equal(list, event.Kinds()) {
		t.Errorf("Abouts tells of %v, Kinds of %v", list, event.Kinds())
	}
}

func TestTraceLines(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.Local)
	who := event.Thread{PID: 4711, EUID: 1000, Comm: "curl"}
	proc := &event.Process{PID: 4711, PPID: 7, Comm: "curl", Exe: "/usr/bin/curl", User: "alice", Creds: event.Creds{EUID: 1000}, NS: event.Namespaces{Mnt: 4026531841}}
	creds := &event.Creds{UID: 1000, EUID: 1000, SUID: 1000}
	for _, c := range []struct {
		trace string
		ev    event.Event
		want  string
	}{
		{"opens", event.Event{Kind: event.KindFileOpen, File: &event.FileAct{Path: "/etc/shadow", Flags: 0o2, Write: true, Result: -13}},
			"03:04:05.006    4711 alice      curl            RW EACCES O_RDWR               /etc/shadow"},
		{"opens", event.Event{Kind: event.KindFileOpen, File: &event.FileAct{Path: "/tmp/a b", Write: true, NoResult: true}},
			"03:04:05.006    4711 alice      curl            W  ?      -                    /tmp/a b"},
		{"opens", event.Event{Kind: event.KindFileOpen, File: &event.FileAct{Path: "/etc/x", Merged: true, NoResult: true}},
			"03:04:05.006    4711 alice      curl            -  ?      -                    /etc/x"},
		{"files", event.Event{Kind: event.KindFileChmod, File: &event.FileAct{Path: "/tmp/x", OldMode: 0o644, Mode: 0o4755, Type: "file"}},
			"03:04:05.006    4711 alice      curl            chmod    0      chmod 0644 → 04755 /tmp/x  [setuid]"},
		{"mounts", event.Event{Kind: event.KindMount, Mount: &event.MountAct{Source: "/dev/sdb", Target: "/mnt", FS: "ext4", Flags: 1, Options: "ro"}},
			`03:04:05.006 curl               4711 4026531841  mount("/dev/sdb", "/mnt", "ext4", 0x1, "ro") = 0`},
		{"connects", event.Event{Kind: event.KindNetConnect, Net: &event.Net{Family: "inet", Protocol: "tcp", LocalAddr: "10.0.0.2", RemoteAddr: "192.0.2.7",
			RemotePort: 443, Domain: "example.com", Duration: 1500 * time.Microsecond}},
			"03:04:05.006    4711 curl            4  10.0.0.2         192.0.2.7          443     1.50 0            example.com"},
		{"connects", event.Event{Kind: event.KindNetConnect, Net: &event.Net{Family: "inet6", RemoteAddr: "2001:db8::1", RemotePort: 80, Result: -111}},
			"03:04:05.006    4711 curl            6  -                2001:db8::1         80        - ECONNREFUSED -"},
		{"closes", event.Event{Kind: event.KindNetClose, Net: &event.Net{LocalAddr: "10.0.0.2", LocalPort: 5, RemoteAddr: "192.0.2.7", RemotePort: 443,
			BytesOut: 2048, BytesIn: 1 << 20, Duration: time.Second, Retrans: 3}},
			"03:04:05.006    4711 curl            10.0.0.2             5 192.0.2.7          443       2    1024   1000.00    3 -"},
		{"dns", event.Event{Kind: event.KindDNS, DNS: &event.DNS{Response: true, Type: "A", Name: "example.com", Code: "NOERROR",
			Answers: []event.DNSRecord{{Type: "CNAME", Data: "x.example.com"}, {Type: "A", Data: "192.0.2.7"}}}},
			"03:04:05.006    4711 curl            R  A      example.com                      NOERROR  CNAME x.example.com, 192.0.2.7"},
		{"creds", event.Event{Kind: event.KindSetuid, Privilege: &event.Privilege{Call: "setresuid", Before: creds, After: &event.Creds{}, Cause: "none"}},
			"03:04:05.006    4711 alice      curl            setuid        0      none           setresuid uid 1000 → 0  [no cause]"},
		{"signals", event.Event{Kind: event.KindSignal, Privilege: &event.Privilege{Signal: 9, Target: &event.Target{PID: 12, Comm: "sshd"}}},
			"03:04:05.006    4711 curl            SIGKILL        12 sshd            0"},
		{"exits", event.Event{Kind: event.KindExit, Exit: &event.Exit{Signal: 11, Lifetime: 90 * time.Second}},
			"03:04:05.006 curl               4711       7    90.00 signal 11 (SIGSEGV)"},
	} {
		spec, err := findTrace(c.trace)
		if err != nil {
			t.Fatal(err)
		}
		c.ev.Time, c.ev.Thread, c.ev.Process = at, who, proc
		if got := traceLine(spec.cols, &c.ev); got != c.want {
			t.Errorf("%s:\n%q, want\n%q", c.trace, got, c.want)
		}
	}
}

func TestFindTrace(t *testing.T) {
	if spec, err := findTrace("file_*"); err != nil || len(spec.kinds) != 11 || spec.cols != nil {
		t.Errorf("file_*: %+v, %v", spec, err)
	}
	for name, want := range map[string]string{"conects": "did you mean connects?", "exce": "did you mean exec", "zzzzzzzzz": "--list"} {
		if _, err := findTrace(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestTraceExpression(t *testing.T) {
	f := traceFlags{filter: "a || b", comm: `x"y\`, pid: 7}
	want := "(a || b\n) && " + `(process.pid == 7 || thread.pid == 7) && (process.comm == "x\"y\\" || thread.comm == "x\"y\\")`
	if got := f.expression(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTraceFlags(t *testing.T) {
	for _, c := range []struct {
		trace string
		flags traceFlags
		want  string // of the mistake, none when empty
	}{
		{"opens", traceFlags{paths: []string{"/", "/etc/", "/etc/shadow"}, filter: "process.pid == 1 // me"}, ""},
		{"file_*", traceFlags{paths: []string{"/etc/"}}, ""},
		{"connects", traceFlags{paths: []string{"/etc/"}}, "`merlon trace opens` does"},
		{"opens", traceFlags{paths: []string{"etc/"}}, "/etc/?"},
		{"opens", traceFlags{paths: []string{"/etc/../x"}}, "did you mean /x?"},
		{"opens", traceFlags{paths: []string{""}}, "not a path from the root"},
		{"opens", traceFlags{count: -1}, "-n is"},
		{"dns", traceFlags{filter: "foo =="}, "filter 1:7"},
		{"dns", traceFlags{filter: "true) || (true"}, "filter 1:5"},
	} {
		spec, err := findTrace(c.trace)
		if err != nil {
			t.Fatal(err)
		}
		err = c.flags.check(&spec)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %+v: %v, want %q", c.trace, c.flags, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "foo") && strings.Contains(err.Error(), "')'") {
			t.Errorf("a parenthesis that nobody typed: %v", err)
		}
	}
}

// The whole expression is one that the agent accepts, whatever the filter ends with.
func TestTraceExpressionCompiles(t *testing.T) {
	c, err := filter.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []traceFlags{{filter: "true // all"}, {filter: "true // all", comm: `x"y\`, pid: 7}, {comm: "x"}} {
		if _, err := c.Compile(f.expression()); err != nil {
			t.Errorf("%q: %v", f.expression(), err)
		}
	}
}

func TestTraceMissing(t *testing.T) {
	dir := t.TempDir()
	file := dir + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := traceFlags{paths: []string{dir + "/", file, dir + "/none/", file + "/"}}
	if got, want := f.missing(), []string{dir + "/none/", file + "/"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
