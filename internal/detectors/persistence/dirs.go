package persistence

import "strings"

// familyOfDir tells what the files of a directory are for, none for most.
// Directories that hold much else (a home, .config, /usr/lib) are none.
func familyOfDir(path string) what {
	if strings.HasSuffix(path, "/.ssh") {
		return keys
	}
	top, rest := "", path
	for _, t := range [...]string{"/etc/", "/usr/local/", "/usr/", "/run/", "/var/"} {
		if below, ok := strings.CutPrefix(path, t); ok {
			top, rest = t, below
			break
		}
	}
	switch top {
	case "/etc/":
		if rest == "udev/rules.d" {
			return udev
		}
		return etcDir(rest)
	case "/run/":
		switch rest {
		case "systemd/system", "systemd/user":
			return unit
		case "udev/rules.d":
			return udev
		}
		return none
	case "/var/":
		switch rest {
		case "spool/cron", "spool/at", "cron", "cron/tabs":
			return cron
		}
	}
	return libDir(strings.TrimPrefix(rest, "/"), path)
}

// libDir handles the directories of packages, by their path below / or /usr,
// and those of a user.
func libDir(rest, path string) what {
	switch rest {
	case "lib/systemd", "lib/systemd/system", "lib/systemd/user", "lib/systemd/system-generators", "lib/systemd/user-generators":
		return unit
	case "lib/udev", "lib/udev/rules.d":
		return udev
	case "lib/pam.d":
		return pam
	}
	for _, end := range [...]string{"/.config/systemd", "/.config/systemd/user", "/.local/share/systemd", "/.local/share/systemd/user"} {
		if strings.HasSuffix(path, end) {
			return unit
		}
	}
	return none
}
