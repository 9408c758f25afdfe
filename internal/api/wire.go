package api

import (
	"time"

	"github.com/merlon/merlon/internal/event"
)

// Paths of the API.
const (
	PathStatus    = "/v1/status"    // GET: Status; ?cost=1s measures the programs' cost for that long
	PathEvents    = "/v1/events"    // GET: events, a line each; ?kind= (names, patterns) ?filter= ?last=N ?follow=1 ?path= (files whose reads are asked for)
	PathAlerts    = "/v1/alerts"    // GET: alerts, a line each; ?last=N ?follow=1
	PathProcesses = "/v1/processes" // GET: live processes, a line each
	PathCheck     = "/v1/check"     // GET: []event.Feature as the agent found them at its start; complete within a second of it
	PathConfig    = "/v1/config"    // GET: the effective configuration, YAML
	PathLogLevel  = "/v1/log/level" // GET, PUT: LogLevel
	PathMetrics   = "/metrics"      // GET: Prometheus
)

// Status is how the agent is.
type Status struct {
	Version  string          `json:"version"`
	PID      int             `json:"pid"`
	Started  time.Time       `json:"started"`
	Uptime   float64         `json:"uptime_seconds"`
	Kernel   string          `json:"kernel"`
	Arch     string          `json:"arch"`
	Memory   Memory          `json:"memory"`
	CPU      float64         `json:"cpu_seconds"` // of the agent itself, user and system
	Events   []KindCount     `json:"events"`
	Losses   []LossCount     `json:"losses"`
	Faults   []FaultCount    `json:"faults"` // records that went out without a part
	Queue    Queue           `json:"queue"`
	Tables   []Table         `json:"tables"` // what the agent keeps in memory, with limits
	Alerts   []AlertCount    `json:"alerts"` // since the start
	Clients  int             `json:"clients"`
	Programs []Program       `json:"programs"`
	CostOver float64         `json:"cost_over_seconds,omitempty"` // the programs' cost was measured for this long
	Counting bool            `json:"bpf_stats_enabled"`           // the kernel counts the runs and time of programs now
	Maps     []Map           `json:"maps"`
	Hooks    []string        `json:"hooks"`           // what is attached where
	Profile  string          `json:"profile"`         // default or full
	Probing  bool            `json:"probing"`         // features are still being tried: Features and Needs will grow
	Needs    []Need          `json:"needs"`           // the kinds of events: who asks for them, what reports them
	Paths    []PathNeed      `json:"paths,omitempty"` // files whose reads are reported
	Syscalls []string        `json:"syscall_hooks"`   // those of Hooks that cost every system call of the host
	Features []event.Feature `json:"features"`
	Degraded []Degraded      `json:"degraded"`
}

// Need is a kind of event: who asks for it, and what reports it here.
type Need struct {
	Kind    event.Kind `json:"kind"`
	Usual   bool       `json:"usual"`             // shown to who asks for no kind (events.kinds)
	Askers  []string   `json:"askers"`            // empty: its hooks are not attached
	Sensors []string   `json:"sensors,omitempty"` // that know the kind
	On      bool       `json:"on"`                // a sensor was told to report it, and could
	Tiers   []Tier     `json:"tiers,omitempty"`   // the features that report it
}

// Tier is a feature that reports a kind of event, with its mechanism here.
type Tier struct {
	Feature   string          `json:"feature"`
	Tier      string          `json:"tier,omitempty"` // empty when nothing on this kernel does it
	Guarantee event.Guarantee `json:"guarantee"`
	Why       string          `json:"why,omitempty"`
	Cure      string          `json:"cure,omitempty"`
}

// PathNeed is a file, or with a slash at its end all below a directory, whose
// reads are reported.
type PathNeed struct {
	Path   string   `json:"path"`
	Askers []string `json:"askers"`
}

// Memory is what the agent takes, in bytes.
type Memory struct {
	Anon  uint64 `json:"anon_bytes"`  // resident anonymous memory
	File  uint64 `json:"file_bytes"`  // resident memory of files: the binary, the mapped rings
	Shmem uint64 `json:"shmem_bytes"` // resident shared memory
	Heap  uint64 `json:"heap_bytes"`  // live heap objects
	Limit uint64 `json:"limit_bytes"` // the soft limit
}

// KindCount counts events of a kind.
type KindCount struct {
	Kind      event.Kind `json:"kind"`
	Count     uint64     `json:"count"`      // since the start
	PerSecond float64    `json:"per_second"` // over the last seconds
}

// LossCount counts events that were produced and not delivered.
type LossCount struct {
	Kind   event.Kind `json:"kind"`
	Stage  string     `json:"stage"` // kernel, queue, decode or client
	Reason string     `json:"reason"`
	Count  uint64     `json:"count"`
}

// FaultCount counts helper calls that failed in the kernel.
type FaultCount struct {
	Kind   event.Kind `json:"kind"`
	Reason string     `json:"reason"`
	Count  uint64     `json:"count"`
}

// Queue is the queue between the rings and the engine, in bytes.
type Queue struct {
	Depth int `json:"depth_bytes"`
	Limit int `json:"limit_bytes"`
}

// Table is something bounded that the agent keeps.
type Table struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
	Limit int    `json:"limit"`
}

// AlertCount counts alerts of a rule.
type AlertCount struct {
	Rule     string         `json:"rule"`
	Severity event.Severity `json:"severity"`
	Count    uint64         `json:"count"`
}

// Program is one BPF program. Runs and Nanos count only while somebody
// measures: the kernel's statistics cost time themselves.
type Program struct {
	Name     string  `json:"name"`
	ID       uint32  `json:"id"`
	Type     string  `json:"type"`
	Hook     string  `json:"hook"`     // where it is made for
	Attached bool    `json:"attached"` // to its hook, now
	Verified uint32  `json:"verified_insns"`
	Memory   uint64  `json:"memory_bytes"`
	Runs     uint64  `json:"runs"`
	Nanos    uint64  `json:"run_nanoseconds"`
	Missed   uint64  `json:"missed_runs"` // skipped because the program was already running on that CPU
	Rate     float64 `json:"runs_per_second"`
	Average  float64 `json:"nanoseconds_per_run"`
	Core     float64 `json:"core_percent"` // of one core
}

// Map is one BPF map.
type Map struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Entries int64  `json:"entries"` // -1 where the kernel doesn't tell
	Max     uint32 `json:"max_entries"`
	Bytes   uint64 `json:"memory_bytes"`
}

// Degraded is a part of the agent that doesn't work, or not as well as it
// should.
type Degraded struct {
	Part   string    `json:"part"`
	Reason string    `json:"reason"`
	Cure   string    `json:"cure,omitempty"`
	Since  time.Time `json:"since"`
}

// LogLevel is the level of the agent's own log.
type LogLevel struct {
	Level string `json:"level"` // debug, info, warn or error
}

// Problem is the body of every answer that is not a success.
type Problem struct {
	Message string `json:"error"`
	Cure    string `json:"cure,omitempty"`
}
