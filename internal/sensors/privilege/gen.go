package privilege

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type event_kind -type priv_call -type priv_bit -type path_status -type event_hdr -type event_actor -type creds -type priv_rec -type priv_cred_rec -type priv_target -type priv_task_rec -type priv_name_rec -type priv_bpf_rec -type priv_path_rec -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf/include -I../../../bpf/lib" privilege privilege.bpf.c
