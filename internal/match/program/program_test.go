package program

import (
	"testing"

	"github.com/merlon/merlon/internal/event"
)

func TestNames(t *testing.T) {
	for path, want := range map[event.Text]string{
		"/usr/bin/python3.11": "python", "/usr/sbin/php-fpm8.2": "php-fpm", "/bin/bash": "bash", "perl5.36.0": "perl",
		"/opt/lua-5.4": "lua", "/x/7z": "7z", "/x/123": "123", "": "", "/a/": "", "/usr/bin/node22": "node",
	} {
		if got := Name(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

func TestKinds(t *testing.T) {
	type kind struct {
		shell, interpreter bool
		server             Server
	}
	for _, c := range []struct {
		p    event.Process
		want kind
	}{
		{event.Process{Exe: "/usr/bin/bash"}, kind{shell: true}},
		{event.Process{Exe: "/usr/bin/ksh93"}, kind{shell: true}},
		{event.Process{Exe: "/bin/busybox", Comm: "sh"}, kind{shell: true}},
		{event.Process{Exe: "/bin/busybox", Comm: "ls"}, kind{}},
		{event.Process{Exe: "/bin/busybox", Comm: "awk"}, kind{interpreter: true}},
		{event.Process{Exe: "/bin/ls", Comm: "sh"}, kind{}},
		{event.Process{Exe: "/usr/bin/python3.12"}, kind{interpreter: true}},
		{event.Process{Exe: "/usr/sbin/nginx"}, kind{server: Web}},
		{event.Process{Exe: "/usr/bin/h2o"}, kind{server: Web}},
		{event.Process{Exe: "/usr/sbin/apache2"}, kind{server: App}},
		{event.Process{Exe: "/usr/sbin/php-fpm8.3"}, kind{server: App}},
		{event.Process{Exe: "/usr/lib/postgresql/15/bin/postgres"}, kind{server: DatabaseHooks}},
		{event.Process{Exe: "/usr/bin/redis-check-rdb"}, kind{server: Database}},
		{event.Process{Exe: "/usr/bin/java", Service: "tomcat10.service"}, kind{server: App}},
		{event.Process{Exe: "/usr/bin/java", Service: "jenkins.service"}, kind{}},
		{event.Process{Comm: "bash"}, kind{}},
	} {
		got := kind{Shell(&c.p), Interpreter(&c.p), ServerOf(&c.p)}
		if got != c.want {
			t.Errorf("%s/%s: got %+v, want %+v", c.p.Exe, c.p.Comm, got, c.want)
		}
	}
	if Shell(nil) || Interpreter(nil) || ServerOf(nil) != None {
		t.Error("no process is something")
	}
}

func TestRoles(t *testing.T) {
	for _, c := range []struct {
		args []event.Text
		want Role
	}{
		{nil, Interactive}, {[]event.Text{"python3"}, Interactive}, {[]event.Text{"python3", "-i", "x.py"}, Interactive},
		{[]event.Text{"perl", "-"}, Interactive}, {[]event.Text{"python3", "-c", "import os"}, Inline},
		{[]event.Text{"perl", "-MIO", "-e", "x"}, Inline}, {[]event.Text{"php", "-r", "x"}, Inline},
		{[]event.Text{"python3", "x.py", "-c"}, Script}, {[]event.Text{"sh", "-x"}, Interactive},
		{[]event.Text{"sh", "--norc", "-i"}, Interactive}, {[]event.Text{"sh", "--", "x"}, Script},
	} {
		if got := RoleOf(c.args); got != c.want {
			t.Errorf("%v: got %d, want %d", c.args, got, c.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	p := &event.Process{PID: 42, Exe: "/tmp/a\x1b[31m", User: "ann", Service: "x.service"}
	if got, want := Describe(p), `a\x1b[31m (pid 42, user ann, x.service)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	p = &event.Process{PID: 7, Comm: "kthread", Container: &event.Container{ID: "3ec1a3b7cf9d1f4c8e0a"}}
	if got, want := Describe(p), "kthread (pid 7, uid 0, container 3ec1a3b7cf9d)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := Describe(&event.Process{PID: 7, Origin: event.OriginInferred}), "a process (pid 7)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if Describe(nil) == "" {
		t.Error("no process has no name")
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add("/bin/sh", "sh", "-c", "user")
	f.Fuzz(func(t *testing.T, exe, comm, arg, id string) {
		p := &event.Process{Exe: event.Text(exe), Comm: event.Text(comm), User: id, Container: &event.Container{ID: id}}
		if s := Describe(p); s != event.Safe(s) {
			t.Errorf("%q is not safe", s)
		}
		Shell(p)
		ServerOf(p)
		RoleOf([]event.Text{"x", event.Text(arg), event.Text(arg)})
	})
}

func TestNothingAllocates(t *testing.T) {
	p := &event.Process{Exe: "/usr/bin/python3.12", Comm: "python"}
	args := []event.Text{"python3", "-v", "x.py"}
	if n := testing.AllocsPerRun(100, func() { Shell(p); Interpreter(p); ServerOf(p); RoleOf(args) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
