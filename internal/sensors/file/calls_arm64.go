package file

// oldCalls are calls that newer architectures never had.
var oldCalls = map[int]fileOpenCall{}

// compatCalls are open, creat, openat, open_by_handle_at, openat2 of 32-bit
// programs: arch/arm/tools/syscall.tbl.
var compatCalls = map[int]fileOpenCall{
	5: fileOpenCallOPEN_ARG2, 8: fileOpenCallOPEN_CREAT, 322: fileOpenCallOPEN_ARG3, 371: fileOpenCallOPEN_ARG3, 437: fileOpenCallOPEN_MEMORY,
}
