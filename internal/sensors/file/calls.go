package file

import "golang.org/x/sys/unix"

const callsEnd = 512 // CALLS in syscall.h

// calls leads from the numbers of system calls that open files to where they
// have the flags: those of this architecture, then those of 32-bit programs.
func calls() (table [2 * callsEnd]uint8) {
	for nr, how := range map[int]fileOpenCall{
		unix.SYS_OPENAT: fileOpenCallOPEN_ARG3, unix.SYS_OPENAT2: fileOpenCallOPEN_MEMORY,
		unix.SYS_OPEN_BY_HANDLE_AT: fileOpenCallOPEN_ARG3,
	} {
		table[nr] = uint8(how)
	}
	for nr, how := range oldCalls {
		table[nr] = uint8(how)
	}
	for nr, how := range compatCalls {
		table[callsEnd+nr] = uint8(how)
	}
	return table
}
