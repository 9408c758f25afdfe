package contract

import "errors"

// ErrPartial is returned by Decode for a record that only prepares a later
// one (a part of a long argument vector, say): there is no event to publish.
var ErrPartial = errors.New("record prepares a later one")
