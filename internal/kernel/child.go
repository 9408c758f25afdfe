package kernel

import (
	"bytes"
	"context"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/cilium/ebpf"
)

//go:embed child/child_amd64.bin child/child_arm64.bin
var childCode embed.FS

// elf64 is an executable's header with one program header
// (include/uapi/linux/elf.h).
type elf64 struct {
	Ident                                                 [16]byte
	Type, Machine                                         uint16
	Version                                               uint32
	Entry, PhOff, ShOff                                   uint64
	Flags                                                 uint32
	EhSize, PhEntSize, PhNum, ShEntSize, ShNum, ShStrNdx  uint16
	SegType, SegFlags                                     uint32
	SegOff, SegVaddr, SegPaddr, SegFile, SegMem, SegAlign uint64
}

// childELF returns the executable of child/child.c for this architecture.
func childELF() ([]byte, error) {
	code, err := childCode.ReadFile("child/child_" + runtime.GOARCH + ".bin")
	if err != nil {
		return nil, fmt.Errorf("find canary child: %w", err)
	}
	const base, align = 0x400000, 0x10000
	machine := map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH]
	size := uint64(binary.Size(elf64{}))
	h := elf64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: 2, Machine: machine, Version: 1,
		Entry: base + size, PhOff: 64, EhSize: 64, PhEntSize: 56, PhNum: 1,
		SegType: 1, SegFlags: 5, SegVaddr: base, SegPaddr: base,
		SegFile: size + uint64(len(code)), SegMem: size + uint64(len(code)), SegAlign: align,
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
		return nil, fmt.Errorf("write canary child: %w", err)
	}
	b.Write(code)
	return b.Bytes(), nil
}

// hostTGID returns our process id in the initial pid namespace: that of the
// thread which runs the program by BPF_PROG_RUN (raw_tp: Linux 5.10).
func (k *Kernel) hostTGID() (uint32, error) {
	if !k.env.PIDNS {
		return uint32(os.Getpid()), nil
	}
	spec, err := loadCanary()
	if err != nil {
		return 0, fmt.Errorf("read canaries: %w", err)
	}
	u, err := k.load(spec, LoadOptions{Name: "whoami", Programs: []string{"c_whoami"}}, nil)
	if err != nil {
		return 0, err
	}
	tgid, err := u.Program("c_whoami").Run(&ebpf.RunOptions{})
	return tgid, errors.Join(err, u.Close())
}

// runChild starts the command, waits for its end, and returns its pid in the
// initial pid namespace.
func (k *Kernel) runChild(ctx context.Context, command func() (*exec.Cmd, error)) (pid int, err error) {
	cmd, err := command()
	if err != nil {
		return 0, err
	}
	translate := func() (int, error) { return cmd.Process.Pid, nil }
	if k.env.PIDNS {
		w, err := k.watchForks()
		if err != nil {
			return 0, fmt.Errorf("run canary: %w", err)
		}
		defer w.Close()
		translate = func() (int, error) {
			var pid uint64
			err := w.Map("canary_hits").Lookup(uint32(canarySlotSLOT_CHILD), &pid)
			return int(pid), err
		}
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("run canary: %w", err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("run canary: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("run canary: %w", err)
	}
	return translate()
}

// watchForks attaches a program that notes our last child.
func (k *Kernel) watchForks() (*Unit, error) {
	tgid, err := k.hostTGID()
	if err != nil {
		return nil, err
	}
	spec, err := loadCanary()
	if err != nil {
		return nil, fmt.Errorf("read canaries: %w", err)
	}
	u, err := k.load(spec, LoadOptions{Name: "forks", Programs: []string{"c_fork"}, Knobs: map[string]any{"canary_tgid": tgid}}, nil)
	if err != nil {
		return nil, err
	}
	if err := u.Attach("c_fork"); err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return u, nil
}
