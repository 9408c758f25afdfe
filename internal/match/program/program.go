// Package program says what kind of program a process runs: a shell, an
// interpreter, a server. It goes by the name of the binary that the kernel
// reports, never by what the process calls itself, save where one binary
// stands for many (busybox).
//
// Nothing here allocates but Describe.
package program

import (
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
)

var shells = set("sh", "bash", "rbash", "dash", "zsh", "ash", "ksh", "ksh93", "mksh", "lksh", "pdksh", "oksh", "yash",
	"fish", "csh", "tcsh", "rc", "elvish", "nu", "pwsh", "posh")

var interpreters = set("python", "pypy", "perl", "ruby", "php", "php-cgi", "node", "nodejs", "deno", "bun", "lua", "luajit",
	"tclsh", "wish", "expect", "awk", "gawk", "mawk", "nawk", "guile", "Rscript", "groovy", "jshell", "irb", "osascript")

// multicall are binaries that are many programs; which one, the file name
// given to execve tells, which the kernel takes for the process's short name
// (fs/exec.c, begin_new_exec).
var multicall = set("busybox", "toybox")

// Server is a kind of network server.
type Server string

// The kinds of servers. Web runs no programs of its own; App is a web server
// that does so by design (CGI, mail); Database likewise stores data, and
// DatabaseHooks is one that runs commands its administrator sets.
const (
	None          Server = ""
	Web           Server = "web server"
	App           Server = "application server"
	Database      Server = "database"
	DatabaseHooks Server = "database with command hooks"
)

var servers = map[string]Server{
	"nginx": Web, "openresty": Web, "angie": Web, "caddy": Web, "lighttpd": Web, "haproxy": Web, "envoy": Web,
	"traefik": Web, "varnishd": Web, "squid": Web, "h2o": Web,
	"apache2": App, "httpd": App, "httpd-prefork": App, "httpd-worker": App, "php-fpm": App, "php-cgi": App,
	"uwsgi": App, "litespeed": App, "lshttpd": App, "openlitespeed": App, "lsphp": App,
	"mysqld": Database, "mariadbd": Database, "redis-server": Database, "valkey-server": Database, "keydb-server": Database,
	"redis-check-rdb": Database, // the binary behind Debian's redis-server
	"mongod":          Database, "mongos": Database, "memcached": Database, "influxd": Database, "clickhouse-server": Database,
	"postgres": DatabaseHooks, "postmaster": DatabaseHooks,
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// Base returns the file name of a path.
func Base(path event.Text) string {
	return string(path[strings.LastIndexByte(string(path), '/')+1:])
}

// Name returns the name of the binary at path without its version:
// "/usr/bin/python3.11" is python, "/usr/sbin/php-fpm8.2" is php-fpm.
func Name(path event.Text) string {
	base := Base(path)
	name := strings.TrimRight(base, "0123456789.")
	name = strings.TrimSuffix(name, "-")
	if name == "" {
		return base
	}
	return name
}

// Of returns the name of the program that p runs. For a binary that is many
// programs it is the short name that the kernel gave the process.
func Of(p *event.Process) string {
	name := Name(p.Exe)
	if multicall[name] && p.Comm != "" {
		return string(p.Comm)
	}
	return name
}

// Shell reports whether p runs a command shell.
func Shell(p *event.Process) bool {
	return known(shells, p)
}

// Interpreter reports whether p runs an interpreter of another language.
func Interpreter(p *event.Process) bool {
	return known(interpreters, p)
}

func known(names map[string]bool, p *event.Process) bool {
	if p == nil || p.Exe == "" {
		return false
	}
	return names[Of(p)] || names[Base(p.Exe)] // ksh93, h2o: the digits belong to the name
}

// ServerOf tells what kind of server p runs, None when it is not known as one.
// A Java process counts when its service is a known servlet container; build
// servers and the like start shells for a living. Node, Python and Ruby don't
// count: their binaries do not tell a server from a script.
func ServerOf(p *event.Process) Server {
	if p == nil || p.Exe == "" {
		return None
	}
	if s := servers[Name(p.Exe)]; s != None {
		return s
	}
	if s := servers[Base(p.Exe)]; s != None {
		return s
	}
	if Name(p.Exe) == "java" {
		for _, prefix := range [...]string{"tomcat", "jetty", "wildfly", "jboss", "payara", "glassfish"} {
			if strings.HasPrefix(p.Service, prefix) {
				return App
			}
		}
	}
	return None
}

// Role says what an interpreter was started to do.
type Role int

// The roles of an interpreter.
const (
	Interactive Role = iota // reads commands from its input
	Inline                  // runs code given as an argument
	Script                  // runs a file
)

// RoleOf tells an interpreter's role from its arguments, args[0] being its
// name. What the arguments say is the process's own word.
func RoleOf(args []event.Text) Role {
	if len(args) < 2 {
		return Interactive
	}
	for _, a := range args[1:] {
		switch {
		case a == "-" || a == "-i":
			return Interactive
		case a == "--" || len(a) < 2 || a[0] != '-':
			return Script
		case a[1] == '-':
			continue // a long option
		case strings.ContainsAny(string(a), "cerR"):
			return Inline // python -c, perl -e, php -r, also bundled: -lc
		}
	}
	return Interactive
}

// Describe names p for a person: "bash (pid 42, user www-data, container
// 3ec1a3b7cf9d)". The text holds no raw bytes of the process.
func Describe(p *event.Process) string {
	if p == nil {
		return "an unknown process"
	}
	name := Base(p.Exe)
	if name == "" {
		name = string(p.Comm)
	}
	if name == "" {
		name = "a process"
	}
	var b strings.Builder
	b.WriteString(event.Safe(name))
	b.WriteString(" (pid ")
	b.WriteString(strconv.FormatUint(uint64(p.PID), 10))
	switch {
	case p.User != "":
		b.WriteString(", user " + event.Safe(p.User))
	case p.Origin != event.OriginInferred || p.Creds.EUID != 0:
		b.WriteString(", uid " + strconv.FormatUint(uint64(p.Creds.EUID), 10))
	}
	if c := p.Container; c != nil {
		b.WriteString(", container " + event.Safe(c.ID[:min(len(c.ID), 12)]))
	} else if p.Service != "" {
		b.WriteString(", " + event.Safe(p.Service))
	}
	b.WriteByte(')')
	return b.String()
}
