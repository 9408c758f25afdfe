package privilege

// oldCalls are calls that newer architectures never had.
var oldCalls = map[int]privilegePrivCall{}
