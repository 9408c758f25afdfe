// Package vm boots Debian kernels in QEMU and runs programs of this
// repository as the only processes of the machine. It needs no root and no
// KVM: TCG is slow but the same everywhere.
//
// The way of a run: Fetch gets a kernel (apt.go, kernel.go), Builder
// cross-builds what is to run (build.go), Tree becomes an initramfs (cpio.go),
// Machine boots it (machine.go) and Results reads what comes out of its second
// serial port (result.go).
package vm

import (
	"fmt"
	"slices"
	"strings"
)

// Kernel is one row of the matrix.
type Kernel struct {
	Name  string // what results and MERLON_REQUIRE_VMS call it
	Arch  string // GOARCH, which is Debian's name of the architecture too
	Suite string // Debian suite whose linux-image-cloud package is taken
	LSM   string // the lsm= argument; empty: Debian's default
	Note  string // what this row is for, in the page
}

// WithBPF is an lsm= argument under which LSM programs enforce.
const WithBPF = "landlock,lockdown,capability,bpf"

// Kernels is the matrix, the slowest first so that the last one to end is not
// the longest.
func Kernels() []Kernel {
	return []Kernel{
		{"arm64-6.12", "arm64", "bookworm-backports", WithBPF, "LSM list with bpf"},
		{"arm64-6.1", "arm64", "bookworm", WithBPF, "no BPF trampolines"},
		{"amd64-6.12", "amd64", "bookworm-backports", WithBPF, "LSM list with bpf"},
		{"amd64-6.12-apparmor", "amd64", "bookworm-backports", "", "Debian's own LSM list: AppArmor and bpf"},
		{"amd64-6.12-nobpf", "amd64", "bookworm-backports", "landlock,lockdown,yama,integrity,apparmor", "LSM list without bpf"},
		{"amd64-6.1", "amd64", "bookworm", WithBPF, "LSM list with bpf"},
		{"amd64-5.10", "amd64", "bullseye", "", "Debian's own LSM list: without bpf"},
	}
}

// KernelNamed returns the row of that name.
func KernelNamed(name string) (Kernel, error) {
	all := Kernels()
	i := slices.IndexFunc(all, func(k Kernel) bool { return k.Name == name })
	if i < 0 {
		names := make([]string, len(all))
		for i, k := range all {
			names[i] = k.Name
		}
		return Kernel{}, fmt.Errorf("find kernel %q: the matrix has %s", name, strings.Join(names, ", "))
	}
	return all[i], nil
}

// variant reports whether the row is another's kernel with other security
// modules: only what depends on these runs there.
func (k Kernel) variant() bool { return strings.Count(k.Name, "-") > 1 }

// Modules lists the kernel modules that tests need and that are not built
// into every kernel of the matrix. What they depend on comes along.
func Modules() []string {
	return []string{"overlay", "binfmt_misc", "veth", "sch_ingress", "cls_bpf", "nf_tables", "tcp_diag", "udp_diag"}
}
