package process

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type event_kind -type exec_flag -type path_status -type file_flag -type cgroup_op -type event_hdr -type task_rec -type creds -type file_rec -type sock_rec -type fd_rec -type exec_rec -type args_rec -type fork_rec -type exit_rec -type cgroup_rec -type seed_rec -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf/include -I../../../bpf/lib" process process.bpf.c
