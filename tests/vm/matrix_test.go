package vm

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/merlon/merlon/tests/vm/plan"
)

// agentPackage stands for `merlon check`, which proves each feature.
const agentPackage = "cmd/merlon"

// matrixPackages is the literal list of what the matrix runs.
var matrixPackages = []string{
	agentPackage,
	"internal/kernel",
	"internal/ring",
	"internal/sensors/process",
	"internal/sensors/file",
	"internal/sensors/network",
	"internal/sensors/dns",
	"internal/sensors/privilege",
}

// variantPackages are those of matrixPackages that run on a kernel which is
// there already with other security modules. The sensors' hooks are no LSM
// programs; agentPackage proves that each works there.
var variantPackages = []string{agentPackage, "internal/kernel", "internal/sensors/process"}

var (
	packagesFlag = flag.String("packages", strings.Join(matrixPackages, ","), "packages to run in the machines, separated by commas")
	testsFlag    = flag.String("tests", "", "run only the tests in the machines that match this pattern (-test.run)")
	deadlineFlag = flag.Duration("deadline", 10*time.Minute, "of one machine")
	budgetFlag   = flag.Duration("budget", 30*time.Minute, "of the whole matrix")
	consoleFlag  = flag.Bool("stream", false, "print what the machines send, as it comes")
)

// machines is how many run at a time: each has two processors under TCG.
const machines = 2

// TestMatrix runs the packages' tests on every kernel; see README.md.
func TestMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines: run without -short")
	}
	required := requiredKernels(t)
	slots := make(chan struct{}, machines)
	end := time.Now().Add(*budgetFlag)
	binaries := newBinaries(strings.Split(*packagesFlag, ","), t.TempDir())
	for _, k := range Kernels() {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := testContext(t, end)
			defer cancel()
			m := prepare(ctx, t, k, binaries, slices.Contains(required, k.Name))
			runMachine(ctx, t, m)
		})
	}
}

// requiredKernels reads MERLON_REQUIRE_VMS: names, separated by commas.
func requiredKernels(t *testing.T) []string {
	var names []string
	for _, n := range strings.FieldsFunc(os.Getenv("MERLON_REQUIRE_VMS"), func(r rune) bool { return r == ',' || r == ' ' }) {
		if _, err := KernelNamed(n); err != nil {
			t.Fatalf("MERLON_REQUIRE_VMS: %v", err)
		}
		names = append(names, n)
	}
	return names
}

// testContext ends with the matrix's budget, and a little before `go test`
// would kill the test.
func testContext(t *testing.T, end time.Time) (context.Context, context.CancelFunc) {
	cause := fmt.Errorf("the matrix's budget of %v is spent", *budgetFlag)
	if d, ok := t.Deadline(); ok && d.Add(-10*time.Second).Before(end) {
		end, cause = d.Add(-10*time.Second), errors.New("go test's -timeout is near")
	}
	return context.WithDeadlineCause(t.Context(), end, cause)
}

// prepare makes the machine of a kernel, or skips: then the reason is that
// this machine lacks the emulator or could not download the kernel.
func prepare(ctx context.Context, t *testing.T, k Kernel, b *binaries, required bool) *Machine {
	lacking := t.Skipf
	if required {
		lacking = t.Fatalf
	}
	if _, err := FindQEMU(k.Arch); err != nil {
		lacking("%s: %v", k.Name, err)
	}
	image, err := Fetch(ctx, k)
	if err != nil {
		lacking("%s: %v", k.Name, err)
	}
	m, err := b.machine(ctx, k, image)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func runMachine(ctx context.Context, t *testing.T, m *Machine) {
	ctx, cancel := context.WithTimeoutCause(ctx, *deadlineFlag, fmt.Errorf("not done after %v", *deadlineFlag))
	defer cancel()
	var r Results
	begin := time.Now()
	run := func() error {
		r = Results{}
		return m.Run(ctx, func(s string) {
			r.Line(s)
			if *consoleFlag {
				fmt.Printf("%s: %s\n", m.Kernel.Name, strings.TrimLeft(s, "\x16"))
			}
		})
	}
	err := run()
	if errors.Is(err, errEnded) {
		// TCG now and then runs a processor into a tracepoint that the other
		// one is just patching, and the guest dies of it; real processors
		// don't. A machine that dies twice has failed.
		t.Logf("started once more: %v", err)
		err = run()
	}
	t.Logf("%s, lsm=%s: init after %.1f s, done after %.0f s", r.Release, r.LSM, r.Boot, time.Since(begin).Seconds())
	for _, p := range r.Problems {
		t.Error(p)
	}
	for _, p := range r.Packages {
		t.Run(p.Name, func(t *testing.T) {
			if p.Name == agentPackage {
				reportCheck(t, &r, p)
			} else {
				reportPackage(t, p)
			}
		})
	}
	reportBudget(t, &r)
	if err != nil {
		t.Error(err)
	}
	for _, j := range m.Jobs[min(len(r.Packages), len(m.Jobs)):] {
		t.Errorf("%s: never started", j.Name)
	}
	if err := SaveFacts(m.Kernel, &r); err != nil {
		t.Error(err)
	}
}

// reportCheck takes what `merlon check --json` said of the kernel.
func reportCheck(t *testing.T, r *Results, p *Package) {
	t.Logf("%.1f s", p.Seconds)
	facts, err := parseCheck(p.Output)
	if err != nil || p.Exit != 0 || !p.Ended {
		t.Errorf("ended %v, exit status %d %s: %v\n%s", p.Ended, p.Exit, p.Text, err, strings.Join(p.Output, "\n"))
	}
	r.addFacts(p.Name, facts...)
}

func reportPackage(t *testing.T, p *Package) {
	t.Logf("%.1f s", p.Seconds)
	for _, test := range p.Tests {
		t.Run(test.Name, func(t *testing.T) { reportTest(t, test) })
	}
	if problem := p.Problem(); problem != "" {
		t.Errorf("%s\n%s", problem, strings.Join(p.Output, "\n"))
	}
}

func reportTest(t *testing.T, test *Test) {
	for _, sub := range test.Subtests {
		name := strings.TrimPrefix(sub.Name, test.Name+"/")
		t.Run(name, func(t *testing.T) { reportTest(t, sub) })
	}
	out := strings.Join(test.Output, "\n")
	switch {
	case test.Status == Skipped && strings.Contains(out, "run as root"):
		// A kernel that refuses a program answers EACCES, which is easily
		// taken for a missing privilege.
		t.Errorf("runs as root with every capability, yet it skips:\n%s", out)
	case test.Status == Skipped:
		t.Skip(out)
	case test.Status == Passed:
	case out == "" && anyFailed(test.Subtests):
		t.Fail() // its subtests have said why
	default:
		t.Errorf("%s after %.2f s\n%s", test.Status, test.Seconds, out)
	}
}

// reportBudget fails for each program that is too near to the verifier's limit.
func reportBudget(t *testing.T, r *Results) {
	for _, facts := range r.Facts {
		for _, f := range facts {
			if f.Type != FactInsns {
				continue
			}
			t.Run("insns/"+f.Program, func(t *testing.T) {
				if f.Count > VerifierBudget {
					t.Errorf("the verifier walks %d instructions; the budget is %d of %d", f.Count, VerifierBudget, VerifierLimit)
				}
			})
		}
	}
}

// binaries builds the test binaries of an architecture once.
type binaries struct {
	packages []string
	out      string
	mu       sync.Mutex
	built    map[string]map[string]string // by architecture and package
}

func newBinaries(packages []string, out string) *binaries {
	return &binaries{packages: packages, out: out, built: map[string]map[string]string{}}
}

const initPackage = "tests/vm/init"

// machine fills a machine with the test binaries and their testdata.
func (b *binaries) machine(ctx context.Context, k Kernel, image *Image) (*Machine, error) {
	builder, err := NewBuilder(ctx, k.Arch, b.out)
	if err != nil {
		return nil, err
	}
	files, err := b.build(ctx, builder)
	if err != nil {
		return nil, err
	}
	m := &Machine{Kernel: k, Image: image, Init: files[initPackage], Tree: Tree{}}
	// A package that hangs is told before the machine is stopped.
	limit := *deadlineFlag * 3 / 4
	for _, pkg := range b.packages {
		if k.variant() && !slices.Contains(variantPackages, pkg) {
			continue
		}
		job := plan.Job{Name: pkg, Timeout: limit + 5*time.Second}
		if pkg == agentPackage {
			m.Tree.AddHost("usr/bin/merlon", files[pkg], 0o755)
			job.Path, job.Dir, job.Args = "/usr/bin/merlon", "/", []string{"check", "--json"}
			m.Jobs = append(m.Jobs, job)
			continue
		}
		dir := path.Join("src", pkg)
		binary := path.Join(dir, path.Base(pkg)+".test")
		m.Tree.AddHost(binary, files[pkg], 0o755)
		if err := builder.AddTestdata(m.Tree, pkg, dir); err != nil {
			return nil, err
		}
		job.Path, job.Dir = "/"+binary, "/"+dir
		job.Args = []string{"-test.v=test2json", "-test.timeout=" + limit.String()}
		if *testsFlag != "" {
			job.Args = append(job.Args, "-test.run="+*testsFlag)
		}
		m.Jobs = append(m.Jobs, job)
	}
	return m, nil
}

func (b *binaries) build(ctx context.Context, builder *Builder) (map[string]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if files, ok := b.built[builder.Arch]; ok {
		return files, nil
	}
	file, err := builder.Command(ctx, initPackage)
	if err != nil {
		return nil, err
	}
	files := map[string]string{initPackage: file}
	for _, pkg := range b.packages {
		build := builder.Test
		if pkg == agentPackage {
			build = builder.Command
		}
		if files[pkg], err = build(ctx, pkg); err != nil {
			return nil, err
		}
	}
	b.built[builder.Arch] = files
	return files, nil
}
