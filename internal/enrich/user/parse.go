package user

import (
	"bufio"
	"io"
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
)

const (
	maxEntries = 65536   // names held of one file
	maxBytes   = 8 << 20 // bytes read of one file
	maxLine    = 64 << 10
	maxName    = 64 // bytes of a name that are kept; useradd(8) allows 32
)

// parse reads passwd(5) or group(5), which agree in the name, the first
// field, and the id, the third. Of two names of one id the first counts, as
// with getpwuid(3). Lines that are no entries (comments, NIS marks, garbage)
// are left out. Names that a terminal would mind come out escaped.
func parse(r io.Reader) (map[uint32]string, error) {
	names := make(map[uint32]string)
	in := bufio.NewScanner(io.LimitReader(r, maxBytes))
	in.Buffer(make([]byte, 0, 4096), maxLine)
	for in.Scan() && len(names) < maxEntries {
		name, rest, _ := strings.Cut(in.Text(), ":")
		_, rest, _ = strings.Cut(rest, ":")
		number, _, ok := strings.Cut(rest, ":")
		if !ok || name == "" || strings.IndexByte("#+-", name[0]) >= 0 {
			continue
		}
		id, err := strconv.ParseUint(number, 10, 32)
		if err != nil || id == 1<<32-1 { // (uid_t)-1 means no user
			continue
		}
		if _, known := names[uint32(id)]; !known {
			names[uint32(id)] = strings.Clone(event.Safe(name[:min(len(name), maxName)]))
		}
	}
	return names, in.Err()
}
