package network

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type event_kind -type net_flag -type sock_note -type event_hdr -type event_actor -type net_rec -type net_end_rec -type unix_rec -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf/include -I../../../bpf/lib" network network.bpf.c
