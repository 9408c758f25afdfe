// Command attacks drives the demo inside of its machine: it starts the agent,
// makes harmless look-alikes of attacks one by one and reports which alerts
// the agent raised for each.
//
// Nothing here harms: no look-alike does anything but start the program that
// an attacker would start, in the way he would. That program is this same
// binary under another name ("sh", "nginx", "passwd"), which says who it is
// and ends: there is no real shell in the machine.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/merlon/merlon/tests/vm/demo/report"
)

func main() {
	name := filepath.Base(os.Args[0])
	if len(os.Args) > 1 && os.Args[0] == stepName {
		name = os.Args[1]
	}
	if act, ok := disguises[name]; ok {
		exit(act())
	}
	if err := drive(); err != nil {
		exit(report.Write(os.Stdout, report.Record{Stage: report.Failed, Problem: err.Error(), Lines: agentTail()}))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "attacks:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// disguises are the programs this binary plays under another name.
var disguises = map[string]func() error{
	"sh":     shell,
	"passwd": shell,
	"update": shell,
	"nginx":  nginx,
	"helper": shell,

	"fetcher": fetcher,
	"escaper": escaper,
	"waiter":  waiter,
}

// shell says who it is, as `id` would.
func shell() error {
	fmt.Printf("%s: uid=%d euid=%d\n", strings.Join(os.Args, " "), os.Getuid(), os.Geteuid())
	return nil
}

// drive runs the whole demo.
func drive() error {
	a, err := startAgent()
	if err != nil {
		return err
	}
	defer a.stop()
	if err := a.tried(); err != nil {
		return err
	}
	for _, attack := range append(attacks(), reaching()...) {
		r := report.Record{Stage: report.Attack, Rule: attack.rule, Title: attack.title, Did: attack.did}
		if err := attack.act(); err != nil {
			r.Problem = err.Error()
		} else if r.Alerts, err = a.newAlerts(attack.rule); err != nil {
			r.Problem = err.Error()
		}
		if err := report.Write(os.Stdout, r); err != nil {
			return err
		}
	}
	return report.Write(os.Stdout, report.Record{Stage: report.Done})
}
