package privilege

import "golang.org/x/sys/unix"

// oldCalls are calls that newer architectures never had.
var oldCalls = map[int]privilegePrivCall{
	unix.SYS_OPEN: privilegePrivCallCALL_OPEN, unix.SYS_CREAT: privilegePrivCallCALL_OPEN,
}
