package persistence

import "strings"

// familyOf tells what a path is for, none for most.
func familyOf(path string) what {
	if len(path) < 6 || path[0] != '/' {
		return none
	}
	i := strings.LastIndexByte(path, '/')
	dir, base := path[:i], path[i+1:]
	if base == "authorized_keys" || base == "authorized_keys2" {
		if strings.HasSuffix(dir, "/.ssh") {
			return keys
		}
	}
	switch path[1] {
	case 'e':
		if strings.HasPrefix(path, "/etc/") {
			return etc(path[len("/etc/"):])
		}
	case 'u':
		if rest, ok := strings.CutPrefix(path, "/usr/"); ok {
			rest, _ = strings.CutPrefix(rest, "local/")
			return lib(rest)
		}
	case 'l':
		return lib(path[1:])
	case 'r':
		switch {
		case strings.HasPrefix(path, "/run/"):
			switch rest := path[len("/run/"):]; {
			case strings.HasPrefix(rest, "systemd/system/"), strings.HasPrefix(rest, "systemd/user/"):
				return unit
			case strings.HasPrefix(rest, "udev/rules.d/"):
				return udev
			}
			return none
		case strings.HasPrefix(path, "/root/"):
			return home(path[len("/root/"):], base)
		}
	case 'h':
		if strings.HasPrefix(path, "/home/") {
			return someHome(path[len("/home/"):], base)
		}
	case 'v':
		switch {
		case strings.HasPrefix(path, "/var/spool/cron/"), strings.HasPrefix(path, "/var/spool/at/"), strings.HasPrefix(path, "/var/cron/tabs/"):
			return cron
		case strings.HasPrefix(path, "/var/lib/"):
			return someHome(path[len("/var/lib/"):], base)
		case strings.HasPrefix(path, "/var/www/"):
			return home(path[len("/var/www/"):], base)
		}
	case 's':
		if strings.HasPrefix(path, "/srv/") {
			return someHome(path[len("/srv/"):], base)
		}
	case 'o':
		if strings.HasPrefix(path, "/opt/") {
			return someHome(path[len("/opt/"):], base)
		}
	}
	return none
}

// lib handles what lies below /usr or /: the units and rules of packages.
func lib(rest string) what {
	switch {
	case !strings.HasPrefix(rest, "lib/"):
	case strings.HasPrefix(rest, "lib/systemd/system/"), strings.HasPrefix(rest, "lib/systemd/user/"),
		strings.HasPrefix(rest, "lib/systemd/system-generators/"), strings.HasPrefix(rest, "lib/systemd/user-generators/"):
		return unit
	case strings.HasPrefix(rest, "lib/udev/rules.d/"):
		return udev
	case strings.HasPrefix(rest, "lib/pam.d/"):
		return pam
	}
	return none
}

// etc handles what lies below /etc.
func etc(rest string) what {
	dir, below, deep := strings.Cut(rest, "/")
	if !deep {
		switch rest {
		case "passwd", "shadow", "group", "gshadow", "subuid", "subgid":
			return accounts
		case "sudoers", "sudo.conf", "doas.conf":
			return sudoers
		case "ld.so.preload":
			return preload
		case "crontab", "anacrontab":
			return cron
		case "profile", "bash.bashrc", "bashrc", "zshenv", "zprofile", "csh.cshrc", "csh.login":
			return profile
		case "rc.local", "inittab":
			return startup
		case "pam.conf":
			return pam
		}
		return none
	}
	switch {
	case dir == "udev" && !strings.HasPrefix(below, "rules.d/"):
		return none
	case dir == "ssh" && strings.HasPrefix(below, "authorized_keys"):
		return keys
	}
	return etcDir(dir)
}

// etcDir tells what the files of a directory in /etc are for.
func etcDir(name string) what {
	switch name {
	case "sudoers.d", "doas.d":
		return sudoers
	case "cron.d", "cron.hourly", "cron.daily", "cron.weekly", "cron.monthly", "cron.yearly":
		return cron
	case "profile.d", "zsh":
		return profile
	case "pam.d":
		return pam
	case "init.d", "rc.d", "rc0.d", "rc1.d", "rc2.d", "rc3.d", "rc4.d", "rc5.d", "rc6.d", "rcS.d":
		return startup
	case "systemd":
		return unit
	case "udev":
		return udev
	}
	return none
}

// someHome handles what lies below a directory of home directories.
func someHome(rest, base string) what {
	_, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return none
	}
	return home(rest, base)
}

// home handles what lies below a home directory.
func home(rest, base string) what {
	if rest == "" || rest[0] != '.' {
		return none
	}
	if rest == base {
		switch base {
		case ".bashrc", ".profile", ".bash_profile", ".bash_login", ".bash_logout", ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".kshrc",
			".cshrc", ".tcshrc", ".login", ".xprofile", ".xsessionrc", ".pam_environment":
			return profile
		}
		return none
	}
	if strings.HasPrefix(rest, ".config/systemd/user/") || strings.HasPrefix(rest, ".local/share/systemd/user/") {
		return unit
	}
	if rest == ".config/fish/config.fish" {
		return profile
	}
	return none
}
