package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// service is a server of Debian's, run by the bench with a configuration of
// its own, in a directory of its own, on a free port of the loopback address.
type service struct {
	name string
	cmd  *exec.Cmd
	addr string
	dir  string
}

// need returns the paths of programs, or says what is missing and how to get
// it.
func need(programs ...string) ([]string, error) {
	var paths, missing []string
	for _, p := range programs {
		at, err := exec.LookPath(p)
		if err != nil {
			at, err = exec.LookPath(filepath.Join("/usr/sbin", p)) // not in everybody's PATH
		}
		if err != nil {
			missing = append(missing, p)
		}
		paths = append(paths, at)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s not found; install with: scripts/install-deps.sh bench", strings.Join(missing, ", "))
	}
	return paths, nil
}

// freePort returns a TCP port of the loopback address that nobody has.
func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port, l.Close()
}

// startService runs a server in the foreground and waits until it accepts
// connections. args gets its directory and port.
func startService(ctx context.Context, name, path string, args func(dir, port string) ([]string, error)) (*service, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "merlon-bench-")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	sv := &service{name: name, dir: dir, addr: "127.0.0.1:" + port}
	argv, err := args(dir, port)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), os.RemoveAll(dir))
	}
	var log bytes.Buffer
	sv.cmd = exec.Command(path, argv...)
	sv.cmd.Dir, sv.cmd.Stdout, sv.cmd.Stderr = dir, &log, &log
	// A Ctrl-C at the terminal is for the bench, which stops it in order. It
	// ends with the bench in any case, which is why it may have no children.
	sv.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	sv.cmd.WaitDelay = 5 * time.Second
	if err := sv.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), os.RemoveAll(dir))
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", sv.addr)
		if err == nil {
			return sv, c.Close()
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			stopped := sv.stop()
			return nil, errors.Join(fmt.Errorf("start %s: it does not answer: %w: %s", name, err, log.Bytes()), stopped)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (sv *service) stop() error {
	_ = sv.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(10*time.Second, func() { _ = sv.cmd.Process.Kill() })
	defer timer.Stop()
	_ = sv.cmd.Wait() // how a server ends on SIGTERM is its own affair
	return os.RemoveAll(sv.dir)
}

// under runs a client against the server, and returns what it printed and what
// the two needed of the CPUs.
func (sv *service) under(cmd *exec.Cmd, meanwhile func()) (string, time.Duration, error) {
	before, err := cpuTime(sv.cmd.Process.Pid)
	if err != nil {
		return "", 0, err
	}
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Start(); err != nil {
		return "", 0, fmt.Errorf("ask %s: %w", sv.name, err)
	}
	if meanwhile != nil {
		meanwhile()
	}
	if err := cmd.Wait(); err != nil {
		return "", 0, fmt.Errorf("ask %s: %w: %s", sv.name, err, problems.Bytes())
	}
	after, err := cpuTime(sv.cmd.Process.Pid)
	return out.String(), after - before + childTime(cmd), err
}

func startRedis(ctx context.Context, path string) (*service, error) {
	return startService(ctx, "redis", path, func(dir, port string) ([]string, error) {
		return []string{"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no"}, nil
	})
}

// ping makes 50 clients send n PINGs in all.
func ping(ctx context.Context, sv *service, path string, n int) (spent, error) {
	_, port, _ := net.SplitHostPort(sv.addr)
	cmd := exec.CommandContext(ctx, path, "-h", "127.0.0.1", "-p", port, "-n", strconv.Itoa(n), "-c", "50", "-t", "ping_mbulk", "--csv")
	out, cpu, err := sv.under(cmd, nil)
	if err != nil {
		return spent{}, err
	}
	rate, err := redisRate(out)
	if err != nil {
		return spent{}, err
	}
	return spent{wall: time.Duration(float64(n) / rate * float64(time.Second)), cpu: cpu, n: n}, nil
}

// redisRate reads the requests per second that redis-benchmark --csv printed:
// a line "PING_MBULK","12345.67",...
func redisRate(out string) (float64, error) {
	for line := range strings.Lines(out) {
		cells := strings.Split(strings.TrimSpace(line), ",")
		if len(cells) < 2 || !strings.HasPrefix(cells[0], `"PING`) {
			continue
		}
		if rate, err := strconv.ParseFloat(strings.Trim(cells[1], `"`), 64); err == nil && rate > 0 {
			return rate, nil
		}
	}
	return 0, fmt.Errorf("ask redis: no rate in %q", out)
}

func startNginx(ctx context.Context, path string) (*service, error) {
	return startService(ctx, "nginx", path, func(dir, port string) ([]string, error) {
		root := filepath.Join(dir, "www")
		conf := fmt.Sprintf(`daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr crit;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_requests 1000000;
	server { listen 127.0.0.1:%[2]s; root %[3]s; }
}
`, dir, port, root)
		file := filepath.Join(dir, "nginx.conf")
		err := errors.Join(os.Mkdir(root, 0o700),
			os.WriteFile(filepath.Join(root, "index.html"), bytes.Repeat([]byte("hello, world\n"), 64), 0o600),
			os.WriteFile(file, []byte(conf), 0o600))
		return []string{"-p", dir, "-e", "stderr", "-c", file}, err
	})
}

// browse makes 16 clients ask for a page for so many milliseconds. wrk knows
// only whole seconds, but ends well on an interrupt.
func browse(ctx context.Context, sv *service, path string, ms int) (spent, error) {
	cmd := exec.CommandContext(ctx, path, "-t", "1", "-c", "16", "-d", "60s", "http://"+sv.addr+"/")
	out, cpu, err := sv.under(cmd, func() {
		_ = pause(ctx, time.Duration(ms)*time.Millisecond)
		_ = cmd.Process.Signal(os.Interrupt)
	})
	if err != nil {
		return spent{}, err
	}
	n, wall, err := wrkCounts(out)
	return spent{wall: wall, cpu: cpu, n: n}, err
}

// wrkCounts reads the requests made and the time they took from what wrk
// printed: "  1234 requests in 1.00s, 1.23MB read".
func wrkCounts(out string) (n int, wall time.Duration, err error) {
	if strings.Contains(out, "Non-2xx") || strings.Contains(out, "Socket errors") {
		return 0, 0, fmt.Errorf("ask nginx: requests failed: %s", out)
	}
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) < 4 || words[1] != "requests" {
			continue
		}
		n, nerr := strconv.Atoi(words[0])
		wall, werr := time.ParseDuration(strings.TrimSuffix(words[3], ","))
		return n, wall, errors.Join(nerr, werr)
	}
	return 0, 0, fmt.Errorf("ask nginx: no count in %q", out)
}
