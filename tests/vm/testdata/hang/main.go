// Command hang ends at once as PID 1, which panics the kernel, and never ends
// otherwise.
package main

import (
	"os"
	"time"
)

func main() {
	for os.Getpid() != 1 {
		time.Sleep(time.Hour)
	}
}
