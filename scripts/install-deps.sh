#!/usr/bin/env bash
# Installs from Debian's packages what `make test` needs, and says of each what
# for. What is there already is left as it is. Made for Debian 12 or newer.
#
#   scripts/install-deps.sh          install (root, or sudo)
#   scripts/install-deps.sh --list   only say what would be installed
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

if [ ${#missing[@]} = 0 ] || [ "${1:-}" = --list ]; then
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
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
