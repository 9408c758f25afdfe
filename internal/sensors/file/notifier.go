package file

import (
	"context"
	"errors"
	"log/slog"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

type notifier struct{}

func newNotifier(self uint32, log *slog.Logger) *notifier { return &notifier{} }
func (n *notifier) want(kinds []event.Kind)               {}
func (n *notifier) watch(paths []string)                  {}
func fanotifyCanary(ctx context.Context, log *slog.Logger) (map[event.Kind]bool, string, error) {
	return nil, "load", errors.ErrUnsupported
}
func (s *Sensor) Run(ctx context.Context, feed contract.Feed) error { <-ctx.Done(); return nil }
