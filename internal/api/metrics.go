package api

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metric is one of our metrics: what it is, and where in a Status it comes
// from.
type metric struct {
	name   string
	kind   prometheus.ValueType
	help   string
	labels []string
	values func(st *Status, set func(v float64, labels ...string))
}

// metricList lists all of them; docs/metrics.md is made from it.
func metricList() []metric {
	counter, gauge := prometheus.CounterValue, prometheus.GaugeValue
	return []metric{
		{"merlon_build_info", gauge, "always 1; the agent's version", []string{"version"}, func(st *Status, set func(float64, ...string)) {
			set(1, st.Version)
		}},
		{"merlon_start_time_seconds", gauge, "when the agent started, in seconds since 1970", nil, func(st *Status, set func(float64, ...string)) {
			set(float64(st.Started.UnixNano()) / 1e9)
		}},
		{"merlon_events_total", counter, "events published, by kind", []string{"kind"}, func(st *Status, set func(float64, ...string)) {
			for _, e := range st.Events {
				set(float64(e.Count), string(e.Kind))
			}
		}},
		{"merlon_events_lost_total", counter, "events produced and not delivered, by kind, stage (kernel, queue, decode, client) and reason", []string{"kind", "stage", "reason"}, func(st *Status, set func(float64, ...string)) {
			for _, l := range st.Losses {
				set(float64(l.Count), string(l.Kind), l.Stage, l.Reason)
			}
		}},
		{"merlon_faults_total", counter, "helper calls that failed in the kernel; the event went out without that part", []string{"kind", "reason"}, func(st *Status, set func(float64, ...string)) {
			for _, f := range st.Faults {
				set(float64(f.Count), string(f.Kind), f.Reason)
			}
		}},
		{"merlon_queue_bytes", gauge, "records waiting between the rings and the engine", nil, func(st *Status, set func(float64, ...string)) {
			set(float64(st.Queue.Depth))
		}},
		{"merlon_queue_limit_bytes", gauge, "most memory for waiting records", nil, func(st *Status, set func(float64, ...string)) {
			set(float64(st.Queue.Limit))
		}},
		{"merlon_table_entries", gauge, "entries of the agent's own tables, like the process tree", []string{"table"}, func(st *Status, set func(float64, ...string)) {
			for _, t := range st.Tables {
				set(float64(t.Count), t.Name)
			}
		}},
		{"merlon_table_limit_entries", gauge, "most entries of that table", []string{"table"}, func(st *Status, set func(float64, ...string)) {
			for _, t := range st.Tables {
				set(float64(t.Limit), t.Name)
			}
		}},
		{"merlon_alerts_total", counter, "alerts since the start, by rule", []string{"rule", "severity"}, func(st *Status, set func(float64, ...string)) {
			for _, a := range st.Alerts {
				set(float64(a.Count), a.Rule, string(a.Severity))
			}
		}},
		{"merlon_clients", gauge, "clients that follow a stream", nil, func(st *Status, set func(float64, ...string)) {
			set(float64(st.Clients))
		}},
		{"merlon_kind_askers", gauge, "who asks for a kind of events: configuration, detectors and clients; 0 means that its hooks are not attached", []string{"kind"}, func(st *Status, set func(float64, ...string)) {
			for _, n := range st.Needs {
				set(float64(len(n.Askers)), string(n.Kind))
			}
		}},
		{"merlon_syscall_hooks", gauge, "programs attached to tracepoints of system calls, each of which costs every call of the host; above 0 in profile full only", nil, func(st *Status, set func(float64, ...string)) {
			set(float64(len(st.Syscalls)))
		}},
		{"merlon_bpf_map_entries", gauge, "entries of BPF maps, where the kernel or the agent counts them", []string{"map"}, func(st *Status, set func(float64, ...string)) {
			for _, m := range st.Maps {
				if m.Entries >= 0 {
					set(float64(m.Entries), m.Name)
				}
			}
		}},
		{"merlon_bpf_map_max_entries", gauge, "most entries of BPF maps; bytes for rings", []string{"map"}, func(st *Status, set func(float64, ...string)) {
			for _, m := range st.Maps {
				set(float64(m.Max), m.Name)
			}
		}},
		{"merlon_bpf_map_bytes", gauge, "kernel memory of BPF maps", []string{"map"}, func(st *Status, set func(float64, ...string)) {
			for _, m := range st.Maps {
				set(float64(m.Bytes), m.Name)
			}
		}},
		{"merlon_bpf_stats_enabled", gauge, "1 while the kernel counts runs and time of BPF programs: sysctl kernel.bpf_stats_enabled=1, or somebody asks `merlon status`", nil, func(st *Status, set func(float64, ...string)) {
			if st.Counting {
				set(1)
			} else {
				set(0)
			}
		}},
		{"merlon_bpf_program_runs_total", counter, "runs of BPF programs; stands still, at 0 when it never moved, unless merlon_bpf_stats_enabled is 1", []string{"program"}, func(st *Status, set func(float64, ...string)) {
			for _, p := range st.Programs {
				set(float64(p.Runs), p.Name)
			}
		}},
		{"merlon_bpf_program_run_seconds_total", counter, "time spent in BPF programs; stands still, at 0 when it never moved, unless merlon_bpf_stats_enabled is 1", []string{"program"}, func(st *Status, set func(float64, ...string)) {
			for _, p := range st.Programs {
				set(float64(p.Nanos)/1e9, p.Name)
			}
		}},
		{"merlon_bpf_program_missed_total", counter, "runs that the kernel skipped because the program was already running on that CPU", []string{"program"}, func(st *Status, set func(float64, ...string)) {
			for _, p := range st.Programs {
				set(float64(p.Missed), p.Name)
			}
		}},
		{"merlon_bpf_program_verified_instructions", gauge, "instructions that the verifier walked through", []string{"program"}, func(st *Status, set func(float64, ...string)) {
			for _, p := range st.Programs {
				set(float64(p.Verified), p.Name)
			}
		}},
		{"merlon_anonymous_bytes", gauge, "resident anonymous memory of the agent", nil, func(st *Status, set func(float64, ...string)) {
			set(float64(st.Memory.Anon))
		}},
		{"merlon_degraded", gauge, "1 for each part that doesn't work as it should", []string{"part"}, func(st *Status, set func(float64, ...string)) {
			for _, d := range st.Degraded {
				set(1, d.Part)
			}
		}},
	}
}

// collector turns a Status into metrics at each scrape.
type collector struct {
	agent Agent
	list  []metric
	descs []*prometheus.Desc
	log   *slog.Logger
}

func newMetrics(a Agent, log *slog.Logger) (http.Handler, error) {
	c := &collector{agent: a, list: metricList(), log: log}
	for _, m := range c.list {
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, m.labels, nil))
	}
	reg := prometheus.NewRegistry()
	for _, part := range []prometheus.Collector{c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := reg.Register(part); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	}), nil
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	st, err := c.agent.Status(ctx, 0)
	if err != nil {
		c.log.Warn("collect metrics", "error", err)
		return
	}
	for i, m := range c.list {
		told := map[string]bool{} // a name may stand for two programs: Prometheus wants one
		m.values(st, func(v float64, labels ...string) {
			key := strings.Join(labels, "\x00")
			if told[key] {
				return
			}
			told[key] = true
			for i, l := range labels {
				labels[i] = strings.ToValidUTF8(l, "?")
			}
			sample, err := prometheus.NewConstMetric(c.descs[i], m.kind, v, labels...)
			if err != nil {
				sample = prometheus.NewInvalidMetric(c.descs[i], err)
			}
			ch <- sample
		})
	}
}

// Reference writes the metrics as a Markdown table, for docs/metrics.md.
func Reference(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, m := range metricList() {
		kind := "gauge"
		if m.kind == prometheus.CounterValue {
			kind = "counter"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, kind, strings.Join(m.labels, ", "), m.help)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
