package main

import (
	"context"
	"testing"
	"time"
)

func TestRedisRate(t *testing.T) {
	out := "\"test\",\"rps\",\"avg_latency_ms\"\n\"PING_MBULK\",\"81300.81\",\"0.332\"\n"
	if rate, err := redisRate(out); err != nil || rate != 81300.81 {
		t.Errorf("got %v, %v", rate, err)
	}
	if _, err := redisRate("\"test\",\"rps\"\n"); err == nil {
		t.Error("no rate is an error")
	}
}

func TestWrkCounts(t *testing.T) {
	out := "Running 1m test @ http://127.0.0.1:1/\n  1 threads and 16 connections\n  7012 requests in 400.31ms, 7.1MB read\nRequests/sec:  17516.42\n"
	if n, wall, err := wrkCounts(out); n != 7012 || wall != 400310*time.Microsecond || err != nil {
		t.Errorf("got %d, %v, %v", n, wall, err)
	}
	for _, bad := range []string{"", "  Socket errors: connect 1, read 0\n  7 requests in 1s, 1KB read\n", "  7 requests in soon, 1KB read\n"} {
		if _, _, err := wrkCounts(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// What works ask of the machine is really done, as often as told.
func TestDeeds(t *testing.T) {
	for _, d := range deeds() {
		once, end, err := d.prep(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 500 {
			if err := once(i); err != nil {
				t.Fatalf("%s: %v", d.name, err)
			}
		}
		end()
	}
}

// A server answers, tells its CPU time, and is gone afterwards.
func TestServices(t *testing.T) {
	for _, c := range []struct {
		programs []string
		start    func(context.Context, string) (*service, error)
		ask      func(context.Context, *service, string, int) (spent, error)
		n        int
	}{
		{[]string{"redis-server", "redis-benchmark"}, startRedis, ping, 2000},
		{[]string{"nginx", "wrk"}, startNginx, browse, 200},
	} {
		t.Run(c.programs[0], func(t *testing.T) {
			paths, err := need(c.programs...)
			if err != nil {
				t.Skip(err)
			}
			sv, err := c.start(t.Context(), paths[0])
			if err != nil {
				t.Fatal(err)
			}
			d, err := c.ask(t.Context(), sv, paths[1], c.n)
			if err != nil || d.n == 0 || d.wall <= 0 || d.cpu <= 0 {
				t.Errorf("got %+v, %v", d, err)
			}
			pid := sv.cmd.Process.Pid
			if err := sv.stop(); err != nil {
				t.Error(err)
			}
			if _, err := cpuTicks(pid); err == nil {
				t.Errorf("process %d of %s is still there", pid, sv.name)
			}
		})
	}
}

func TestNeed(t *testing.T) {
	if _, err := need("sh", "merlon-no-such-program"); err == nil || err.Error() != "merlon-no-such-program not found; install with: scripts/install-deps.sh bench" {
		t.Errorf("got %v", err)
	}
}

func TestComparison(t *testing.T) {
	w := &work{name: "x", each: "turn", add: 3, limit: 1.1}
	for range 5 {
		w.rounds = append(w.rounds, []spent{
			without: {wall: 100 * time.Microsecond, cpu: 50 * time.Microsecond, n: 10},
			again:   {wall: 110 * time.Microsecond, cpu: 50 * time.Microsecond, n: 10},
			with:    {wall: 240 * time.Microsecond, cpu: 60 * time.Microsecond, n: 20},
			more:    {wall: 150 * time.Microsecond, cpu: 75 * time.Microsecond, n: 10},
		})
	}
	c := newComparison([]*work{w}, "", state{name: "full"})
	for i, want := range []float64{1.2, 2, 1.2 / 2, 1.5} {
		switch r := c.results()[i]; {
		case r.Value-want > 1e-9 || want-r.Value > 1e-9:
			t.Errorf("row %d: %s is %v, want %v", i, r.Name, r.Value, want)
		case i == 0 && (*r.Met || r.Control.Median < 1.09):
			t.Errorf("%+v", r)
		case i == 1 && (!*r.Met || r.Control.Median < 0.99):
			t.Errorf("%+v", r)
		}
	}
}
