package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// keyring signs Debian's archives; it comes with the debian-archive-keyring
// package, which every Debian has.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// archive is a private view of one suite of the Debian archive: apt's lists
// of another suite or architecture than the machine's, in a folder of our own,
// so that the machine's lists stay as they are and no root is needed.
type archive struct {
	dir, arch, suite string
}

// options are apt's, in the order of apt.conf(5).
func (a *archive) options() []string {
	set := []string{
		"APT::Architecture=" + a.arch,
		"APT::Architectures=" + a.arch,
		"APT::Sandbox::User=", // the cache folder need not be readable for apt's own user
		"Acquire::Languages=none",
		"Acquire::Retries=2",
		"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"Dir::State=" + a.dir,
		"Dir::State::Lists=" + filepath.Join(a.dir, "lists"),
		"Dir::State::status=" + filepath.Join(a.dir, "status"),
		"Dir::Cache=" + filepath.Join(a.dir, "cache"),
		"Dir::Etc::sourcelist=" + filepath.Join(a.dir, "sources.list"),
		"Dir::Etc::sourceparts=" + filepath.Join(a.dir, "none"),
		"Dir::Etc::preferences=" + filepath.Join(a.dir, "none"),
		"Dir::Etc::preferencesparts=" + filepath.Join(a.dir, "none"),
	}
	args := make([]string, 0, 2*len(set))
	for _, s := range set {
		args = append(args, "-o", s)
	}
	return args
}

// openArchive reads the lists of the suite from the first of this machine's
// Debian mirrors that has it.
func openArchive(ctx context.Context, dir, arch, suite string) (*archive, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, errors.New("read the Debian archive: this machine has no apt-get")
	}
	mirrors, err := debianMirrors(ctx)
	if err != nil {
		return nil, err
	}
	a := &archive{dir: dir, arch: arch, suite: suite}
	for _, d := range []string{"lists/partial", "cache/archives/partial", "none"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("read the Debian archive: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "status"), nil, 0o644); err != nil {
		return nil, fmt.Errorf("read the Debian archive: %w", err)
	}
	var last error
	for _, uri := range mirrors {
		line := fmt.Sprintf("deb %s%s %s main\n", signedBy(), uri, suite)
		if err := os.WriteFile(filepath.Join(dir, "sources.list"), []byte(line), 0o644); err != nil {
			return nil, fmt.Errorf("read the Debian archive: %w", err)
		}
		// --error-on=any: else an unreachable mirror is only a warning.
		if _, last = a.run(ctx, dir, "apt-get", "update", "-qq", "--error-on=any"); last == nil {
			return a, nil
		}
	}
	return nil, fmt.Errorf("read the lists of %s from this machine's mirrors: %w", suite, last)
}

func signedBy() string {
	if _, err := os.Stat(keyring); err != nil {
		return "" // apt's own trusted keys decide
	}
	return "[signed-by=" + keyring + "] "
}

func (a *archive) run(ctx context.Context, dir, command string, args ...string) (string, error) {
	return output(ctx, dir, command, append(a.options(), args...)...)
}

// output runs a command and returns what it printed; the error holds the last
// lines of what it complained about.
func output(ctx context.Context, dir, command string, args ...string) (string, error) {
	var out, complaint bytes.Buffer
	c := exec.CommandContext(ctx, command, args...)
	c.Dir, c.Stdout, c.Stderr = dir, &out, &complaint
	c.Env = append(os.Environ(), "LC_ALL=C")
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, lastLines(complaint.String(), 3))
	}
	return out.String(), nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// debianMirrors lists where this machine gets its Debian packages from,
// asking apt, which knows all forms of its sources.
func debianMirrors(ctx context.Context) ([]string, error) {
	out, err := output(ctx, "", "apt-get", "indextargets",
		"--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)", "Identifier: Packages")
	if err != nil {
		return nil, fmt.Errorf("list this machine's apt sources: %w", err)
	}
	mirrors := parseMirrors(out)
	if len(mirrors) == 0 {
		return nil, errors.New("find a Debian mirror: none among this machine's apt sources; is this a Debian?")
	}
	return mirrors, nil
}

var debianPath = regexp.MustCompile(`(^|/)debian(/|$)`)

// parseMirrors picks the main Debian archives from apt's index targets. The
// origin is known only after a first `apt-get update`; before that the path
// has to tell, as in .../debian or .../archive/debian/20250520T000000Z.
func parseMirrors(targets string) []string {
	var mirrors []string
	seen := map[string]bool{}
	for _, line := range strings.Split(targets, "\n") {
		f := strings.Split(line, "|")
		if len(f) != 4 || f[2] != "main" || strings.HasSuffix(f[1], "-security") || seen[f[0]] {
			continue
		}
		known := f[3] != "" && !strings.HasPrefix(f[3], "$(")
		if known && f[3] != "Debian" || !known && !debianPath.MatchString(f[0]) {
			continue
		}
		seen[f[0]] = true
		mirrors = append(mirrors, f[0])
	}
	return mirrors
}

// dependency returns name and version of the one package that a metapackage
// depends on, where its name has the prefix.
func (a *archive) dependency(ctx context.Context, meta, prefix string) (name, version string, err error) {
	out, err := a.run(ctx, a.dir, "apt-cache", "show", "--no-all-versions", meta)
	if err != nil {
		return "", "", fmt.Errorf("look up %s in %s: %w", meta, a.suite, err)
	}
	if name, version = parseDependency(out, prefix); name == "" {
		return "", "", fmt.Errorf("look up %s in %s: it depends on no %s package", meta, a.suite, prefix)
	}
	return name, version, nil
}

func parseDependency(show, prefix string) (name, version string) {
	exact := regexp.MustCompile(`^(` + regexp.QuoteMeta(prefix) + `[a-z0-9.+-]*) \(= ([A-Za-z0-9.+:~-]+)\)$`)
	for _, line := range strings.Split(show, "\n") {
		list, ok := strings.CutPrefix(line, "Depends: ")
		if !ok {
			continue
		}
		for _, d := range strings.Split(list, ",") {
			if m := exact.FindStringSubmatch(strings.TrimSpace(d)); m != nil {
				return m[1], m[2]
			}
		}
	}
	return "", ""
}

// unpack downloads a package and unpacks it into the folder, whose name apt
// and dpkg get as their working directory.
func (a *archive) unpack(ctx context.Context, name, version, into string) error {
	if _, err := a.run(ctx, into, "apt-get", "download", "-qq", name+"="+version); err != nil {
		return fmt.Errorf("download %s: %w", name, err)
	}
	debs, err := filepath.Glob(filepath.Join(into, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("download %s: %d packages came", name, len(debs))
	}
	if _, err := output(ctx, into, "dpkg-deb", "-x", debs[0], into); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	return os.Remove(debs[0])
}
