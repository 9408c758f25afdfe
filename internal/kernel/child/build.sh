#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the canaries' child for every architecture: flat code, entry first.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT
for arch in amd64:x86_64 arm64:aarch64; do
	clang-19 --target="${arch#*:}-linux-gnu" -Oz -mgeneral-regs-only -ffreestanding -fPIC -fvisibility=hidden -fno-stack-protector \
		-fno-asynchronous-unwind-tables -fno-builtin -Wall -Werror -c child.c -o "$tmp"
	llvm-objcopy-19 -O binary -j .text "$tmp" "child_${arch%%:*}.bin"
done
