package vm

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/merlon/merlon/tests/vm/plan"
)

// Status is how a test ended.
type Status string

// A test that did not end was running when its process died.
const (
	Passed  Status = "pass"
	Failed  Status = "fail"
	Skipped Status = "skip"
	Running Status = "did not end"
)

// Test is one test function or subtest.
type Test struct {
	Name     string // as `go test` prints it, subtests with their parents' names
	Status   Status
	Seconds  float64
	Output   []string // its own lines, without those of its subtests
	Subtests []*Test
}

// Package is what one test binary did.
type Package struct {
	Name    string
	Tests   []*Test
	Output  []string // lines outside of every test
	Ended   bool
	Exit    int
	Text    string // what killed it
	Seconds float64
}

// Problem says why the package failed beyond its tests: it did not start, or
// end, or was killed, or failed without a failing test. Empty if all is well.
func (p *Package) Problem() string {
	switch {
	case !p.Ended:
		return "the machine ended before these tests did"
	case p.Text != "":
		return p.Text
	case p.Exit != 0 && !anyFailed(p.Tests):
		return "exit status " + strconv.Itoa(p.Exit) + " without a failing test"
	case p.Exit == 0 && len(p.Tests) == 0:
		return "no tests ran"
	}
	return ""
}

func anyFailed(tests []*Test) bool {
	for _, t := range tests {
		if t.Status != Passed && t.Status != Skipped || anyFailed(t.Subtests) {
			return true
		}
	}
	return false
}

// Results reads the lines that a Machine hands out: marks of its init, and
// between them the output of test binaries run with -test.v=test2json. It is
// not safe for concurrent use.
type Results struct {
	Release  string   // the kernel's, once init is up
	LSM      string   // its list of LSMs
	Boot     float64  // seconds from the kernel's start to init
	Problems []string // what init could not do, and facts that can't be read
	Packages []*Package
	Facts    map[string][]Fact // by package

	now   *Package
	tests map[string]*Test // of now
	test  *Test            // whose output comes
}

// Line takes the next line.
func (r *Results) Line(s string) {
	if e, ok := plan.Parse(s); ok {
		r.event(e)
		return
	}
	if r.now == nil {
		return // outside of jobs nothing but init speaks
	}
	if marked, ok := strings.CutPrefix(s, "\x16"); ok {
		if r.marked(marked) {
			return
		}
		s = marked
	}
	if strings.Contains(s, FactMark) {
		r.fact(s)
		return
	}
	if r.test != nil {
		r.test.Output = append(r.test.Output, s)
	} else {
		r.now.Output = append(r.now.Output, s)
	}
}

func (r *Results) fact(s string) {
	f, err := parseFact(s)
	if err != nil {
		r.Problems = append(r.Problems, r.now.Name+": "+err.Error())
		return
	}
	r.addFacts(r.now.Name, f)
}

func (r *Results) addFacts(pkg string, facts ...Fact) {
	if r.Facts == nil {
		r.Facts = map[string][]Fact{}
	}
	r.Facts[pkg] = append(r.Facts[pkg], facts...)
}

func (r *Results) event(e plan.Event) {
	switch e.Stage {
	case plan.Boot:
		r.Release, r.LSM, r.Boot = e.Release, e.Text, e.Seconds
	case plan.Problem:
		r.Problems = append(r.Problems, e.Text)
	case plan.Begin:
		r.now, r.test, r.tests = &Package{Name: e.Job}, nil, map[string]*Test{}
		r.Packages = append(r.Packages, r.now)
	case plan.End:
		if r.now != nil && r.now.Name == e.Job {
			r.now.Ended, r.now.Exit, r.now.Text, r.now.Seconds = true, e.Exit, e.Text, e.Seconds
		}
		r.now, r.test = nil, nil
	}
}

var (
	chapter = regexp.MustCompile(`^=== (RUN|CONT|PAUSE|NAME|ATTR|ARTIFACTS) +(\S*)`)
	verdict = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)
)

// marked takes a line that the testing package wrote itself.
func (r *Results) marked(s string) bool {
	if m := verdict.FindStringSubmatch(s); m != nil {
		t := r.get(m[2])
		t.Status = map[string]Status{"PASS": Passed, "FAIL": Failed, "SKIP": Skipped}[m[1]]
		t.Seconds, _ = strconv.ParseFloat(m[3], 64) // the pattern allows 1.2.3: then 0
		r.test = t
		return true
	}
	m := chapter.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	switch {
	case m[1] == "ATTR" || m[1] == "ARTIFACTS":
	case m[2] == "" || m[1] == "PAUSE":
		r.test = nil
	default:
		r.test = r.get(m[2])
	}
	return true
}

// get finds the test of that name or makes it, below its parent. Only a name
// that runs already can be a parent: a subtest's own name may hold slashes.
func (r *Results) get(name string) *Test {
	if t := r.tests[name]; t != nil {
		return t
	}
	t := &Test{Name: name, Status: Running}
	r.tests[name] = t
	for above := name; ; {
		i := strings.LastIndexByte(above, '/')
		if i < 0 {
			r.now.Tests = append(r.now.Tests, t)
			return t
		}
		above = above[:i]
		if p := r.tests[above]; p != nil {
			p.Subtests = append(p.Subtests, t)
			return t
		}
	}
}
