package client

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/api"
)

// Who follows kinds asks for them as long as the stream lasts, and is told
// what can't be had; who doesn't follow, or names no kind, asks for nothing.
func TestFollowersAsk(t *testing.T) {
	f := start(t, me(), 16)
	f.agent.notes = []api.Problem{{Message: "dns is not seen here", Cure: "none"}}
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	started := make(chan struct{})
	ended := make(chan error, 1)
	var notes []string
	go func() {
		ended <- f.client.Events(ctx, Query{Kinds: []string{"dns,exec", "file_ope*"}, Paths: []string{"/etc/"}, Follow: true, Started: func() { close(started) }}, func(line []byte) error {
			if _, err := DecodeEvent(line); err != nil {
				notes = append(notes, err.Error())
				leave()
			}
			return nil
		})
	}()
	<-started
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(notes, []string{"dns is not seen here"}) {
		t.Errorf("notes %q", notes)
	}
	background := context.Background()
	nothing := func([]byte) error { return nil }
	if err := f.client.Events(background, Query{Kinds: []string{"dns"}, Last: 5}, nothing); err != nil {
		t.Fatal(err)
	}
	once, stop := context.WithCancel(background)
	if err := f.client.Events(once, Query{Follow: true, Started: stop}, nothing); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		f.agent.mu.Lock()
		defer f.agent.mu.Unlock()
		return f.agent.released == 1
	})
	want := []string{fmt.Sprintf("client pid %d[exec file_open dns] [/etc/]", os.Getpid())}
	if !slices.Equal(f.agent.asked, want) {
		t.Errorf("asked %q, want %q", f.agent.asked, want)
	}
}

func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

func TestStreamMistakes(t *testing.T) {
	f, ctx := start(t, me(), 16), context.Background()
	for want, q := range map[string]Query{
		"did you mean file_open?": {Kinds: []string{"file_opne"}},
		"no kind is like":         {Kinds: []string{"nothing_*"}},
		"not an absolute path":    {Paths: []string{"etc/passwd"}, Follow: true},
		". and .. parts":          {Paths: []string{"/etc/../tmp/"}, Follow: true},
		"at most 64":              {Paths: make([]string, 65), Follow: true},
	} {
		if err := f.client.Events(ctx, q, func([]byte) error { return nil }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", q, err, want)
		}
	}
	var notes []string
	err := f.client.Events(ctx, Query{Kinds: []string{"dns"}, Last: 3}, func(line []byte) error {
		_, err := DecodeEvent(line)
		notes = append(notes, fmt.Sprint(err))
		return nil
	})
	if err != nil || notes != nil { // the fixture's hub reports every kind anyway
		t.Errorf("notes %q, %v", notes, err)
	}
}
