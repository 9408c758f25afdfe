package persistence

import (
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/origin"
)

// what names a family of files.
type what int

const (
	keys what = iota
	cron
	sudoers
	preload
	accounts
	unit
	startup
	profile
	pam
	udev
	none what = -1
)

// family is a rule about files of one purpose.
type family struct {
	rule    event.Rule
	is      string          // what the file does, for the reason
	tools   origin.Names    // what may change it
	service map[string]bool // services that may
}

// clouds are the services that set a cloud instance up.
var clouds = map[string]bool{
	"cloud-init.service": true, "cloud-init-local.service": true, "cloud-init-main.service": true, "cloud-init-network.service": true,
	"cloud-config.service": true, "cloud-final.service": true,
	"google-guest-agent.service": true, "google-guest-agent-manager.service": true, "walinuxagent.service": true, "waagent.service": true,
}

// families is read-only, indexed by what.
var families = [...]family{
	keys: {
		rule: rule("persist-ssh-key", "The keys that may log in by SSH were changed", event.SeverityHigh, "T1098.004"),
		is:   "which says whose keys may log in", service: clouds,
		tools: origin.NewNames("cloud-init", "google_guest_agent", "google_authorized_keys", "waagent"),
	},
	cron: {
		rule: rule("persist-cron", "Scheduled commands were changed", event.SeverityHigh, "T1053.003", "T1053.002"),
		is:   "which says what runs on schedule", service: clouds,
		tools: origin.NewNames("crontab", "at", "atd", "batch", "cron", "crond", "cloud-init"),
	},
	sudoers: {
		rule: rule("persist-sudoers", "The rules of sudo were changed", event.SeverityHigh, "T1548.003"),
		is:   "which says who may become root", service: clouds,
		tools: origin.NewNames("visudo", "cloud-init", "google_guest_agent", "waagent"),
	},
	preload: {
		rule: rule("persist-ld-preload", "The library that every program loads was changed", event.SeverityCritical, "T1574.006"),
		is:   "which makes every program load a library",
	},
	accounts: {
		rule: rule("persist-accounts", "The files of accounts and passwords were changed by something that is not made for it", event.SeverityHigh,
			"T1136.001", "T1098"),
		is: "which says who may log in", service: clouds,
		tools: origin.NewNames("passwd", "useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel", "groupmems", "gpasswd", "chage",
			"chfn", "chsh", "chpasswd", "chgpasswd", "newusers", "vipw", "vigr", "pwck", "grpck", "pwconv", "pwunconv", "grpconv", "grpunconv",
			"adduser", "addgroup", "deluser", "delgroup", "systemd-sysusers", "systemd-firstboot", "unix_update", "update-passwd", "luseradd",
			"cloud-init", "waagent"),
	},
	unit: {
		rule: rule("persist-systemd-unit", "What systemd starts was changed", event.SeverityHigh, "T1543.002", "T1053.006"),
		is:   "which says what systemd starts", service: clouds,
		tools: origin.NewNames("systemctl", "systemd", "systemd-sysv-install", "deb-systemd-helper", "update-rc.d", "netplan", "snapd", "snap",
			"systemd-machine-id-setup", "systemd-firstboot", "portablectl", "systemd-portabled", "systemd-homed", "cloud-init", "chkconfig"),
	},
	startup: {
		rule: rule("persist-startup-script", "A script that runs at boot was changed", event.SeverityHigh, "T1037.004"),
		is:   "which runs at boot", tools: origin.NewNames("update-rc.d", "insserv", "chkconfig", "rc-update", "systemd-sysv-install"),
	},
	profile: {
		rule: rule("persist-shell-profile", "What shells run at their start was changed", event.SeverityMedium, "T1546.004"),
		is:   "which shells run at their start",
		tools: origin.NewNames("useradd", "adduser", "newusers", "homectl", "systemd-homed", "pam_mkhomedir", "mkhomedir_helper",
			"oddjobd-mkhomedir"),
	},
	pam: {
		rule: rule("persist-pam", "The rules of authentication were changed", event.SeverityHigh, "T1556.003"),
		is:   "which says how people are authenticated", tools: origin.NewNames("pam-auth-update", "authselect", "authconfig", "pam-config"),
	},
	udev: {
		rule: rule("persist-udev-rule", "What udev runs was changed", event.SeverityHigh, "T1546.017"),
		is:   "which says what udev runs",
	},
}

func rule(id, title string, s event.Severity, attack ...string) event.Rule {
	return event.Rule{ID: id, Title: title, Severity: s, Attack: attack}
}
