package privilege

import (
	"os"
	"testing"

	"github.com/merlon/merlon/internal/event"
)

func TestStart(t *testing.T) {
	start(t, os.Getenv("PV_FULL") != "", event.KindSetuid)
}
