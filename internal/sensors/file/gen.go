package file

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type event_kind -type path_status -type file_bit -type open_call -type watch_flag -type event_hdr -type event_actor -type act_rec -type mount_rec -type file_conf -type watch_key -type name_key -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf/include -I../../../bpf/lib" file file.bpf.c
