#!/usr/bin/env bash
# The demo of the README: see tests/vm/demo. Options are passed on.
set -euo pipefail
cd "$(dirname "$0")/.."
exec go run ./tests/vm/demo "$@"
