package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// canaryName begins the names of everything that canaries make: files and
// cgroups are "merlon-canary-<pid>-...".
const canaryName = "merlon-canary-"

// lab is where canaries live: a temporary directory with two copies of the
// child, one that acts and one that is acted upon.
type lab struct {
	k      *Kernel
	spec   *ebpf.CollectionSpec
	dir    string
	tgid   uint32 // ours, in the initial pid namespace
	helper string
	target labFile
}

// labFile is a temporary file that a canary guards.
type labFile struct {
	path string
	ino  uint64
}

// newLab prepares canaries and proves that the acts which they are to refuse
// go through without them.
func newLab(ctx context.Context, k *Kernel) (*lab, error) {
	spec, err := loadCanary()
	if err != nil {
		return nil, fmt.Errorf("read canaries: %w", err)
	}
	tgid, err := k.hostTGID()
	if err != nil {
		return nil, err
	}
	k.removeStale()
	var errs []error
	for _, dir := range slices.Compact([]string{os.TempDir(), "/run", "/dev/shm", "/var/tmp"}) {
		l := &lab{k: k, spec: spec, tgid: tgid}
		if err := l.settle(ctx, dir); err != nil {
			errs = append(errs, fmt.Errorf("use %s: %w", dir, err))
			l.close()
			continue
		}
		return l, nil
	}
	return nil, &Error{Op: "prepare canaries", Cause: "no directory takes a temporary executable", Cure: "set TMPDIR to one that is not mounted noexec", Err: errors.Join(errs...)}
}

func (l *lab) settle(ctx context.Context, dir string) (err error) {
	if l.dir, err = os.MkdirTemp(dir, fmt.Sprintf("%s%d-", canaryName, os.Getpid())); err != nil {
		return err
	}
	h, err := l.newFile("child")
	if err != nil {
		return err
	}
	l.helper = h.path
	if l.target, err = l.newFile("target"); err != nil {
		return err
	}
	end, err := l.exec(ctx)
	if err != nil {
		return err
	}
	if end.err() != nil || !end.wrote {
		return fmt.Errorf("execute a temporary file: %w", end.err())
	}
	return nil
}

func (l *lab) close() {
	if l.dir == "" {
		return
	}
	if err := os.RemoveAll(l.dir); err != nil {
		l.k.log.Warn("a canary's directory stays", "path", l.dir, "err", err)
	}
}

// removeStale removes what canaries of killed agents left.
func (k *Kernel) removeStale() {
	for _, dir := range []string{os.TempDir(), k.env.CgroupPath} {
		if dir == "" || k.env.PIDNS {
			continue
		}
		old, _ := filepath.Glob(filepath.Join(dir, canaryName+"*"))
		for _, path := range old {
			pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), canaryName), "-")
			if n, err := strconv.Atoi(pid); err != nil || errors.Is(unix.Kill(n, 0), unix.ESRCH) {
				k.log.Debug("removing what a killed agent left", "path", path)
				_ = removeDir(path, dir == k.env.CgroupPath) // not ours alone to judge why it stays
			}
		}
	}
}

func removeDir(path string, cgroup bool) error {
	if cgroup {
		return os.Remove(path)
	}
	return os.RemoveAll(path)
}

// newFile writes a copy of the child.
func (l *lab) newFile(name string) (labFile, error) {
	f := labFile{path: filepath.Join(l.dir, name)}
	code, err := childELF()
	if err != nil {
		return f, err
	}
	if err := os.WriteFile(f.path, code, 0o700); err != nil {
		return f, fmt.Errorf("write canary: %w", err)
	}
	st := unix.Stat_t{}
	if err := unix.Stat(f.path, &st); err != nil {
		return f, fmt.Errorf("read canary: %w", err)
	}
	f.ino = st.Ino
	return f, nil
}

func (f labFile) open() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	return file.Close()
}

func (f labFile) remove() error { return os.Remove(f.path) }

// knobs tells canary programs whom and what they act on.
func (l *lab) knobs(ino uint64) map[string]any {
	return map[string]any{canaryVarCanaryTgid: l.tgid, canaryVarCanaryIno: ino}
}

// childEnd is how a child ended.
type childEnd struct {
	errno  syscall.Errno
	killed bool // by SIGKILL
	wrote  bool // it ran far enough to write
}

func (e childEnd) err() error {
	switch {
	case e.killed:
		return errors.New("killed")
	case e.errno != 0:
		return e.errno
	}
	return nil
}

// exec starts the helper, which executes the target.
func (l *lab) exec(ctx context.Context) (childEnd, error) {
	var end childEnd
	for range 100 {
		var err error
		if end, err = l.run(ctx, nil, "e", l.target.path); err != nil {
			return end, err
		}
		// Another thread's fork may hold the file open for writing for a moment (golang.org/issue/22315).
		if end.errno != unix.ETXTBSY {
			break
		}
	}
	return end, nil
}

// run runs the helper, in a cgroup if one is given, and waits for its end.
func (l *lab) run(ctx context.Context, cgroup *os.File, args ...string) (childEnd, error) {
	var out bytes.Buffer
	var cmd *exec.Cmd
	for tries := 0; ; tries++ {
		cmd = exec.CommandContext(ctx, l.helper, args...)
		cmd.Env, cmd.Stdout, cmd.Dir = []string{}, &out, l.dir
		if cgroup != nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
		}
		err := cmd.Start()
		if errors.Is(err, unix.ETXTBSY) && tries < 100 {
			continue
		}
		if err != nil {
			return childEnd{}, fmt.Errorf("start canary child: %w", err)
		}
		break
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return childEnd{}, fmt.Errorf("wait for canary child: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return childEnd{}, fmt.Errorf("wait for canary child: %w", err)
	}
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		return childEnd{}, errors.New("wait for canary child: no status")
	}
	end := childEnd{wrote: out.Len() > 0, killed: ws.Signaled() && ws.Signal() == syscall.SIGKILL}
	if ws.Exited() {
		end.errno = syscall.Errno(ws.ExitStatus())
	}
	return end, nil
}

// wantDenied turns the fate of a guarded act into the canary's verdict.
func (l *lab) wantDenied(err error, lsm bool) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return nil
	case err != nil:
		return &canaryError{cause: fmt.Sprintf("the guarded act ended otherwise: %v", err)}
	case lsm && !slices.Contains(l.k.env.LSMs, "bpf"):
		return &canaryError{
			cause: fmt.Sprintf("it loads and attaches but enforces nothing: bpf is not among the active security modules (%s)", strings.Join(l.k.env.LSMs, ",")),
			cure:  "add bpf to the lsm= boot parameter",
		}
	}
	return &canaryError{cause: "it loads and attaches but enforces nothing"}
}

// drain runs an iterator program over everything.
func drain(u *Unit, prog string) error {
	r, err := u.Iterate(prog)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}
