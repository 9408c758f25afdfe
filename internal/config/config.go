// Package config is Merlon's configuration: one typed tree with defaults. A
// file only names what differs from them, and decoding is strict: every
// mistake is told with its place, its key and the nearest valid key.
//
// Each field carries its name in the key tag and its meaning in doc; the
// commented defaults of `merlon config print` and docs/config.md are made from
// these tags. A Config is plain data: whoever loads it owns it.
package config

import "time"

// Config is the whole tree.
type Config struct {
	StateDir    string  `key:"state_dir" doc:"directory of the agent's state (alerts); made when missing, readable by root only"`
	Socket      string  `key:"socket" doc:"unix socket of the API, at most 107 bytes long"`
	SocketGroup string  `key:"socket_group" doc:"group whose members may open the socket and read; empty means root alone (and api.*)"`
	Profile     string  `key:"profile" doc:"full permits programs on the tracepoints of single system calls, where nothing better works on this kernel: they cost 22 ns and more on every system call of the host. merlon check and status tell which" oneof:"default full"`
	Log         Log     `key:"log" doc:"what the agent writes about itself, on standard error"`
	Kernel      Kernel  `key:"kernel" doc:"how programs get into the kernel"`
	Rings       Rings   `key:"rings" doc:"buffers between kernel and agent"`
	Process     Process `key:"process" doc:"the process sensor and the process tree"`
	Events      Events  `key:"events" doc:"the event stream of the API"`
	Alerts      Alerts  `key:"alerts" doc:"grouping and keeping of alerts"`
	API         API     `key:"api" doc:"who may use the API besides root; the kernel tells who is at the other end of the socket"`
	Metrics     Metrics `key:"metrics" doc:"metrics for Prometheus; always served at /metrics on the socket"`
	Memory      Memory  `key:"memory" doc:"the agent's own memory"`
}

// Log configures the agent's own log.
type Log struct {
	Level  string `key:"level" doc:"least level that is written" oneof:"debug info warn error"`
	Format string `key:"format" doc:"text for people, json for machines" oneof:"text json"`
}

// Kernel configures how programs get into the kernel.
type Kernel struct {
	BTF    string `key:"btf" doc:"file with the kernel's type information (BTF), for kernels that do not bring it; empty means the kernel's own"`
	PinDir string `key:"pin_dir" doc:"directory below a bpf file system for what must outlive the agent"`
}

// Rings sizes the buffers between kernel and agent.
type Rings struct {
	Critical Size `key:"critical" doc:"ring for exec, exit and what must not be pushed out by floods: a power of two, 64KiB to 8MiB" range:"64KiB 8MiB" pow2:"yes"`
	Bulk     Size `key:"bulk" doc:"ring for everything else: a power of two, 64KiB to 8MiB" range:"64KiB 8MiB" pow2:"yes"`
	Queue    Size `key:"queue" doc:"records read from the rings and not yet worked on, 64KiB to 64MiB" range:"64KiB 64MiB"`
}

// Process configures the process sensor and tree.
type Process struct {
	MaxTracked int  `key:"max_tracked" doc:"most processes kept in the tree, exited ones included, 1024 to 4194304" range:"1024 4194304"`
	ArgsBytes  Size `key:"args_bytes" doc:"most memory for the arguments of the processes in the tree, 1MiB to 1GiB" range:"1MiB 1GiB"`
}

// Events configures the event stream.
type Events struct {
	Kinds       []string `key:"kinds" doc:"kinds of events that are always reported, besides what detectors and clients ask for; patterns like file_* are allowed, and all. docs/events.md lists them"`
	ReadPaths   []string `key:"read_paths" doc:"files whose reads are reported (kind file_open), besides those that detectors and clients ask for: absolute paths, those with a slash at their end meaning everything below"`
	Buffer      int      `key:"buffer" doc:"most events kept in memory, for events -n and for clients that read slowly, 16 to 1048576; as many again while clients ask for other kinds than events.kinds" range:"16 1048576"`
	BufferBytes Size     `key:"buffer_bytes" doc:"most memory these events may take, 256KiB to 1GiB; a quarter more while clients ask for other kinds" range:"256KiB 1GiB"`
	MaxClients  int      `key:"max_clients" doc:"most clients that follow a stream at the same time, 1 to 1024" range:"1 1024"`
}

// Alerts configures the grouping and keeping of alerts.
type Alerts struct {
	Window    Duration `key:"window" doc:"findings of one rule about one process tree and object within this time of each other are one alert, 1s to 168h" range:"1s 168h"`
	Update    Duration `key:"update" doc:"an alert that goes on is told again at most this often, 1s to 24h" range:"1s 24h"`
	Retention Duration `key:"retention" doc:"how long alerts are kept, 1h to 87600h" range:"1h 87600h"`
	Max       int      `key:"max" doc:"most alerts kept, oldest go first, 100 to 10000000" range:"100 10000000"`
}

// API says who may use the API besides root.
type API struct {
	ReadUIDs  []uint32 `key:"read_uids" doc:"users who may read events, alerts, processes, status and metrics"`
	ReadGIDs  []uint32 `key:"read_gids" doc:"groups whose members may read the same"`
	AdminUIDs []uint32 `key:"admin_uids" doc:"users who may also change the running agent"`
}

// Metrics configures the metrics.
type Metrics struct {
	Listen string `key:"listen" doc:"loopback address and port that serves /metrics over TCP, like 127.0.0.1:9464; empty means none. Everybody on this host can read it"`
}

// Memory bounds the agent's own memory.
type Memory struct {
	SoftLimit Size `key:"soft_limit" doc:"the garbage collector works harder the closer the heap gets to this, 32MiB to 64GiB" range:"32MiB 64GiB"`
}

// Default returns a new tree of defaults.
func Default() *Config {
	return &Config{
		StateDir: "/var/lib/merlon",
		Socket:   "/run/merlon/merlon.sock",
		Profile:  "default",
		Log:      Log{Level: "info", Format: "text"},
		Kernel:   Kernel{PinDir: "/sys/fs/bpf/merlon"},
		Rings:    Rings{Critical: 4 << 20, Bulk: 8 << 20, Queue: 8 << 20},
		Process:  Process{MaxTracked: 131072, ArgsBytes: 32 << 20},
		Events:   Events{Kinds: []string{"fork", "exec", "exit", "cgroup"}, ReadPaths: []string{}, Buffer: 4096, BufferBytes: 8 << 20, MaxClients: 64},
		Alerts:   Alerts{Window: Duration(10 * time.Minute), Update: Duration(10 * time.Second), Retention: Duration(90 * 24 * time.Hour), Max: 100000},
		Memory:   Memory{SoftLimit: 96 << 20},
	}
}
