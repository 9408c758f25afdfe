package kernel

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../bpf/include -I../../bpf/lib" unit testdata/unit.bpf.c
