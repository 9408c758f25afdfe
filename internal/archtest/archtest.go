// Package archtest holds the architecture's laws as code: who may import whom,
// and what no source file may do. The tests beside it apply them to this tree
// and, so that the checkers themselves are tested, to trees that break them.
// The laws are told, with their reasons, in docs/architecture.md.
package archtest

import "slices"

// Layers of the tree: a package imports downwards only.
const (
	layerNouns   = 0 // nouns and pure algorithms
	layerGround  = 1 // kernel, rings, storage, policy: the machinery below every plug-in
	layerPlugin  = 2 // one folder per sensor, detector, sink ...
	layerAgent   = 3 // what moves events, alerts and requests
	layerCatalog = 4 // the list of plug-ins
	layerCommand = 5 // the program
	layerTests   = 6 // tests/: whole-agent tests and benchmarks, imported by nobody
)

// place is a folder of the tree, or with * one folder of any name, and what
// its packages may import.
type place struct {
	dir   string
	layer int
	reach []int    // layers it may import, where that is not its layer's default
	may   []string // further folders (patterns) it may import
}

// library is a third-party library and the only folders that may import it.
type library struct {
	prefix string
	dirs   []string // patterns; "tests" means _test.go files anywhere and tests/
}

// law is the import law of one module.
type law struct {
	module    string
	reach     map[int][]int
	places    []place
	libraries []library
}

const testFiles = "tests"

// loaders are the folders that load BPF: one for the agent, and a helper of
// tests that feeds rings with records.
var loaders = []string{"internal/kernel", "internal/ring/ringtest"}

// merlon is this project's law. A folder that is not listed is a violation:
// decide on its layer and write it here and in docs/architecture.md.
var merlon = law{
	module: "github.com/merlon/merlon",
	reach: map[int][]int{
		layerNouns:   {layerNouns},
		layerGround:  {layerNouns},
		layerPlugin:  {layerNouns},
		layerAgent:   {layerNouns, layerGround},
		layerCatalog: {layerNouns, layerGround, layerPlugin},
		layerCommand: {layerNouns, layerGround, layerAgent, layerCatalog},
		layerTests:   {layerNouns, layerGround, layerPlugin, layerAgent, layerCatalog, layerCommand, layerTests},
	},
	places: []place{
		{dir: "internal/event", layer: layerNouns},
		{dir: "internal/event/fields", layer: layerNouns},
		{dir: "internal/contract", layer: layerNouns},
		{dir: "internal/config", layer: layerNouns},
		{dir: "internal/record", layer: layerNouns},
		{dir: "internal/match", layer: layerNouns},
		{dir: "internal/match/*", layer: layerNouns},
		{dir: "internal/proto/*", layer: layerNouns},
		{dir: "internal/reassembly", layer: layerNouns},

		{dir: "internal/kernel", layer: layerGround},
		{dir: "internal/ring", layer: layerGround},
		{dir: "internal/ring/ringtest", layer: layerGround, may: []string{"internal/kernel", "internal/ring"}},
		{dir: "internal/store", layer: layerGround},
		{dir: "internal/policy", layer: layerGround},
		{dir: "internal/ban", layer: layerGround},
		{dir: "internal/filter", layer: layerGround},

		{dir: "internal/sensors/*", layer: layerPlugin, may: []string{"internal/kernel"}},
		{dir: "internal/enforce/*", layer: layerPlugin, may: []string{"internal/kernel", "internal/policy"}},
		{dir: "internal/dataplane", layer: layerPlugin, may: []string{"internal/kernel", "internal/dataplane/stages/*"}},
		{dir: "internal/dataplane/stages/*", layer: layerPlugin, may: []string{"internal/kernel"}},
		{dir: "internal/enrich/*", layer: layerPlugin},
		{dir: "internal/detectors/*", layer: layerPlugin},
		{dir: "internal/feeds/*", layer: layerPlugin},
		{dir: "internal/actions/*", layer: layerPlugin, may: []string{"internal/ban", "internal/policy"}},
		{dir: "internal/sinks/*", layer: layerPlugin},
		{dir: "internal/simulate/*", layer: layerPlugin},

		{dir: "internal/engine", layer: layerAgent, reach: []int{layerNouns}, may: []string{"internal/ring"}},
		{dir: "internal/alert", layer: layerAgent},
		{dir: "internal/needs", layer: layerAgent},
		{dir: "internal/intel", layer: layerAgent},
		{dir: "internal/replay", layer: layerAgent},
		{dir: "internal/api", layer: layerAgent},
		{dir: "internal/api/client", layer: layerAgent, may: []string{"internal/api"}},
		{dir: "internal/console", layer: layerAgent},
		{dir: "internal/archtest", layer: layerAgent, reach: []int{}},

		{dir: "internal/catalog", layer: layerCatalog},
		{dir: "internal/app", layer: layerCommand},
		{dir: "internal/cli", layer: layerCommand, may: []string{"internal/app"}},
		{dir: "cmd/merlon", layer: layerCommand, reach: []int{}, may: []string{"internal/cli"}},

		{dir: "tests/*", layer: layerTests},
		{dir: "tests/*/*", layer: layerTests},
		{dir: "tests/*/*/*", layer: layerTests},
	},
	libraries: []library{
		{"cel.dev/", []string{"internal/filter"}},
		{"google.golang.org/", []string{"internal/filter"}},
		{"modernc.org/sqlite", []string{"internal/store"}},
		{"github.com/goccy/go-yaml", []string{"internal/config"}},
		{"github.com/prometheus/", []string{"internal/api"}},
		{"github.com/spf13/", []string{"internal/cli"}},
		{"github.com/cilium/ebpf/link", []string{"internal/kernel", "tests/*"}}, // tests/ only lists links
		{"github.com/cilium/ebpf/rlimit", []string{"internal/kernel", "internal/ring/ringtest"}},
		{"github.com/cilium/ebpf/features", []string{"internal/kernel"}},
		{"github.com/cilium/ebpf", []string{
			"internal/kernel", "internal/ring", "internal/ring/ringtest",
			"internal/sensors/*", "internal/enforce/*", "internal/dataplane", "internal/dataplane/stages/*", testFiles,
		}},
		{"golang.org/x/sync", []string{"internal/app", testFiles}},
		{"golang.org/x/term", []string{"internal/cli", testFiles}},
		{"golang.org/x/sys", []string{
			"internal/kernel", "internal/ring", "internal/ring/ringtest", "internal/store",
			"internal/sensors/*", "internal/enforce/*", "internal/dataplane", "internal/enrich/*", "internal/actions/*",
			"internal/simulate/*", "internal/engine", "internal/api", "internal/app", "internal/cli", testFiles,
		}},
		{"github.com/google/go-cmp", []string{testFiles}},
		{"github.com/miekg/dns", []string{testFiles}}, // what proto/dns is compared with
		{"github.com/rogpeppe/go-internal", []string{testFiles}},
	},
}

// find returns the place of a folder; the most specific pattern comes first
// only by being exact, so patterns must not overlap otherwise.
func (l *law) find(dir string) (place, bool) {
	i := slices.IndexFunc(l.places, func(p place) bool { return matches(p.dir, dir) })
	if i < 0 {
		return place{}, false
	}
	return l.places[i], true
}

func (l *law) reachOf(p place) []int {
	if p.reach != nil {
		return p.reach
	}
	return l.reach[p.layer]
}
