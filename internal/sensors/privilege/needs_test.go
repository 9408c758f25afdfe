package privilege

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

func itoa(n int) string { return strconv.Itoa(n) }

// TestAttachExactly asks for kinds and compares what is attached.
func TestAttachExactly(t *testing.T) {
	h := start(t, false)
	ctx := context.Background()
	if h.sensor.unit != nil {
		t.Errorf("nothing was asked for, and %v is attached", h.sensor.unit.Attached())
	}
	for _, kinds := range [][]event.Kind{
		{event.KindSetuid}, {event.KindSetuid, event.KindUringSetup}, {event.KindUringSetup, event.KindSignal},
		{event.KindCapset, event.KindChroot, event.KindBPFLoad}, nil,
	} {
		if err := h.sensor.Attach(ctx, kinds); err != nil {
			t.Fatal(err)
		}
		want, _ := h.sensor.wanted(kinds)
		slices.Sort(want)
		if got := h.sensor.unit.Attached(); !slices.Equal(got, want) {
			t.Errorf("for %v attached %v, want %v", kinds, got, want)
		}
	}
	if d := h.sensor.Degraded(); len(d) != 0 {
		t.Errorf("refused: %v", d)
	}
}

// TestUnaskedIsSilent: kinds that share a hook are told apart in the kernel.
func TestUnaskedIsSilent(t *testing.T) {
	h := start(t, false, event.KindSetuid)
	h.need(event.KindSetuid, false)
	a := h.perform("setresgid")
	b := h.perform("setresuid")
	h.by(b, event.KindSetuid, "setresuid")
	if n := h.count(func(ev *event.Event) bool { return ev.Thread.PID == uint32(a.pid) }); n != 0 {
		t.Errorf("%d events of a kind that nobody asked for", n)
	}
}

// TestChangingNeeds changes what is asked for while acts of a kind that stays
// go on: each is told exactly once.
func TestChangingNeeds(t *testing.T) {
	h := start(t, false, event.KindSetuid)
	w := h.need(event.KindSetuid, false)
	const rounds = 500
	done := make(chan error, 1)
	go func() {
		done <- onThread(func() error {
			for range rounds {
				_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, 1234, 0, 0)
				_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, 0, 0, 0)
			}
			return nil
		})
	}()
	for i, running := 0, true; running; i++ {
		kinds := []event.Kind{event.KindSetuid}
		if i%2 == 0 {
			kinds = append(kinds, event.KindSetgid, event.KindUringSetup, event.KindSignal, event.KindChroot)
		}
		if err := h.sensor.Attach(context.Background(), kinds); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
	}
	want := 2 * rounds
	if w.by == byCapable {
		want = rounds // going back to an id that it has needs no capability
	}
	mine := func(ev *event.Event) bool {
		return ev.Thread.PID == uint32(os.Getpid()) && ev.Privilege.Call == "setfsuid"
	}
	a := h.perform("setfsuid") // comes after all others on the same ring
	h.by(a, event.KindSetuid, "setfsuid")
	if n := h.count(mine); n != want {
		t.Errorf("%d of %d acts were told", n, want)
	}
}

// TestNameIsTheKernels: another thread rewrites the name during the call; the
// event has the name that the file got.
func TestNameIsTheKernels(t *testing.T) {
	profiles(t, func(t *testing.T, full bool) {
		h := start(t, full, event.KindMemfdCreate)
		h.need(event.KindMemfdCreate, full)
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{"MERLON_TEST_ROLE=rename", "GOMAXPROCS=4"}
		cmd.Stdin = strings.NewReader("")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var names []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			names = append(names, lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		names = names[:len(names)-1] // the last line is the role's own
		if len(names) != raceRounds {
			t.Fatalf("%d names, want %d", len(names), raceRounds)
		}
		mine := func(ev *event.Event) bool { return ev.Thread.PID == uint32(cmd.Process.Pid) }
		for i, ev := range h.atLeast(raceRounds, mine) {
			if string(ev.Privilege.Name) != names[i] {
				t.Errorf("file %d is named %q, the event says %q", i, names[i], ev.Privilege.Name)
			}
		}
	})
}

// TestModules removes and loads one that the test machine has.
func TestModules(t *testing.T) {
	h := start(t, false, event.KindModuleLoad, event.KindModuleUnload)
	h.need(event.KindModuleLoad, false)
	files, err := filepath.Glob("/modules/*cls_bpf*")
	if err != nil || len(files) == 0 {
		t.Skip("no kernel module at hand that could be removed and loaded")
	}
	before := ownCreds(t)
	a := h.perform("rmmod", "cls_bpf")
	if a.errno != 0 {
		t.Fatalf("remove module: %v", unix.Errno(a.errno))
	}
	want := func(call string) *event.Privilege {
		return &event.Privilege{Before: &before, Cause: "capability", Call: call, Name: "cls_bpf"}
	}
	h.check(a, h.by(a, event.KindModuleUnload, "delete_module"), before.UID, want("delete_module"))
	a = h.perform("module", files[0])
	if a.errno != 0 {
		t.Fatalf("load module: %v", unix.Errno(a.errno))
	}
	h.check(a, h.by(a, event.KindModuleLoad, "finit_module"), before.UID, want("finit_module"))
}
