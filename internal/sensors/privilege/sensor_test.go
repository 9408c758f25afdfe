package privilege

import (
	"testing"

	"github.com/merlon/merlon/internal/event"
)

func TestStart(t *testing.T) {
	start(t, false, event.KindSetuid)
}
