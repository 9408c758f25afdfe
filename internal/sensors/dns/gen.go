package dns

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type event_kind -type packet_flag -type event_hdr -type event_actor -type dns_rec -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf/include -I../../../bpf/lib" dns dns.bpf.c
