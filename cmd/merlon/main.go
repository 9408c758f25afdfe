// Merlon guards a Linux host from inside its kernel. See `merlon help`.
package main

import (
	"os"

	"github.com/merlon/merlon/internal/cli"
)

// Set by -ldflags "-X main.version=... -X main.commit=..."; otherwise the
// build information that Go records is shown.
var version, commit string

func main() {
	os.Exit(cli.Main(cli.Build{Version: version, Commit: commit}, os.Args[1:]))
}
