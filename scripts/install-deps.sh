#!/usr/bin/env bash
# Installs from Debian's packages what `make test` needs, and says of each what
# for. What is there already is left as it is. Made for Debian 12 or newer.
#
#   scripts/install-deps.sh          install (root, or sudo)
#   scripts/install-deps.sh bench    install what the benchmarks run, instead
#   scripts/install-deps.sh --list   only say what would be installed; also: --list bench
set -euo pipefail

# what shows that it is there (a command, or a file)  package  what for
needs="
clang-19                          clang-19                builds the BPF objects, to check that the committed ones are equal
llvm-strip-19                     llvm-19                 strips them
clang-format-19                   clang-format-19         checks the format of BPF C
/usr/include/bpf/bpf_helpers.h    libbpf-dev              headers of the BPF helpers
qemu-system-x86_64                qemu-system-x86         runs the test matrix's amd64 kernels, and the demo
qemu-system-aarch64               qemu-system-arm         runs the test matrix's arm64 kernels
xz                                xz-utils                unpacks modules of those kernels
/usr/share/keyrings/debian-archive-keyring.gpg  debian-archive-keyring  verifies those kernels
"
# Their services are not started: the benchmarks run their own.
bench_needs="
redis-server                      redis-server            a server under many small requests
redis-benchmark                   redis-tools             makes those requests
/usr/sbin/nginx                   nginx-light             a web server
wrk                               wrk                     asks it
/usr/bin/cc                       gcc                     the compile of tiny files
/usr/include/stdio.h              libc6-dev               the headers it reads
"

list=no
for arg in "$@"; do
	case $arg in
	--list) list=yes ;;
	bench) needs=$bench_needs ;;
	*)
		echo "usage: scripts/install-deps.sh [--list] [bench]" >&2
		exit 2
		;;
	esac
done

is_there() {
	case $1 in
	/*) [ -e "$1" ] ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

missing=()
while read -r mark package why; do
	[ -n "$mark" ] || continue
	if is_there "$mark"; then
		printf '  %-24s is there        %s\n' "$package" "$why"
	else
		printf '  %-24s to be installed %s\n' "$package" "$why"
		missing+=("$package")
	fi
done <<<"$needs"

if [ ${#missing[@]} = 0 ] || [ $list = yes ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	echo "install-deps: no apt-get here: install by other means: ${missing[*]}" >&2
	exit 1
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "install-deps: needs root; run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi
# Packages that bring a service ask this file whether to start it (invoke-rc.d(8)).
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
	"${as_root[@]}" chmod 755 $policy
	trap '"${as_root[@]}" rm -f $policy' EXIT
fi
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
