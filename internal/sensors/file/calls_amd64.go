package file

import "golang.org/x/sys/unix"

// oldCalls are calls that newer architectures never had.
var oldCalls = map[int]fileOpenCall{
	unix.SYS_OPEN: fileOpenCallOPEN_ARG2, unix.SYS_CREAT: fileOpenCallOPEN_CREAT,
}

// compatCalls are open, creat, openat, open_by_handle_at, openat2 of 32-bit
// programs: arch/x86/entry/syscalls/syscall_32.tbl.
var compatCalls = map[int]fileOpenCall{
	5: fileOpenCallOPEN_ARG2, 8: fileOpenCallOPEN_CREAT, 295: fileOpenCallOPEN_ARG3, 342: fileOpenCallOPEN_ARG3, 437: fileOpenCallOPEN_MEMORY,
}
