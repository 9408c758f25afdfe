package cli

import (
	"strconv"

	"github.com/merlon/merlon/internal/event"
)

func netTraces() []traceSpec {
	value := func(head string, width int, f func(*event.Net) string) column { return column{head, width, netText(f)} }
	ip := value("IP", 2, ipVersion)
	domain := value("DOMAIN", 0, func(n *event.Net) string { return orDash(n.Domain) })
	local := func(addr, p string) []column {
		return []column{value(addr, 16, func(n *event.Net) string { return orDash(n.LocalAddr) }), value(p, -5, func(n *event.Net) string { return port(n.LocalPort) })}
	}
	remote := func(addr, p string) []column {
		return []column{value(addr, 16, func(n *event.Net) string { return orDash(n.RemoteAddr) }), value(p, -5, func(n *event.Net) string { return port(n.RemotePort) })}
	}
	proto := value("PROT", 5, protocolOf)
	life := []column{
		value("TX_KB", -7, func(n *event.Net) string { return kilobytes(n.BytesOut) }),
		value("RX_KB", -7, func(n *event.Net) string { return kilobytes(n.BytesIn) }),
		value("MS", -9, func(n *event.Net) string { return millis(n.Duration) }),
	}
	join := func(parts ...[]column) []column {
		var all []column
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	who := []column{colTime(), colPID(), colComm()}
	return []traceSpec{
		{"connects", "connections attempted from here, and how that went", "tcpconnect, tcpconnlat", []event.Kind{event.KindNetConnect},
			join(who, []column{ip, value("SADDR", 16, func(n *event.Net) string { return orDash(n.LocalAddr) })}, remote("DADDR", "DPORT"),
				[]column{value("LAT(ms)", -8, func(n *event.Net) string {
					if n.Duration == 0 {
						return "-"
					}
					return millis(n.Duration)
				}), {"RESULT", 12, resultText}, domain})},
		{"accepts", "connections accepted here", "tcpaccept", []event.Kind{event.KindNetAccept}, join(who, []column{ip}, remote("RADDR", "RPORT"), local("LADDR", "LPORT"))},
		{"closes", "connections that end: bytes, duration, retransmits", "tcplife", []event.Kind{event.KindNetClose},
			join(who, local("LADDR", "LPORT"), remote("RADDR", "RPORT"), life, []column{value("RETR", -4, func(n *event.Net) string { return strconv.Itoa(int(n.Retrans)) }), domain})},
		{"flows", "UDP flows", "udpsnoop", []event.Kind{event.KindNetFlow}, join(who, local("LADDR", "LPORT"), remote("RADDR", "RPORT"), life, []column{domain})},
		{"binds", "local addresses taken", "bindsnoop", []event.Kind{event.KindNetBind}, join(who, []column{proto}, local("ADDR", "PORT"), []column{{"RESULT", 0, resultText}})},
		{"listens", "sockets that begin to listen", "solisten", []event.Kind{event.KindNetListen},
			join(who, []column{proto, value("BACKLOG", -7, func(n *event.Net) string { return strconv.Itoa(int(n.Backlog)) })}, local("ADDR", "PORT"), []column{{"RESULT", 0, resultText}})},
		{"sockets", "raw and packet sockets made, named unix sockets connected to", "", []event.Kind{event.KindNetRaw, event.KindUnixConnect},
			[]column{colTime(), colPID(), colUser(), colComm(), colErr(), colWhat()}},
		{"dns", "names asked for and answered", "dnssnoop", []event.Kind{event.KindDNS}, []column{
			colTime(), colPID(), colComm(),
			{"QR", 2, dnsText(func(d *event.DNS) string { return map[bool]string{true: "R", false: "Q"}[d.Response] })},
			{"TYPE", 6, dnsText(func(d *event.DNS) string { return orDash(d.Type) })},
			{"NAME", 32, dnsText(func(d *event.DNS) string { return orDash(string(d.Name)) })},
			{"CODE", 8, dnsText(func(d *event.DNS) string { return orDash(d.Code) })},
			{"ANSWERS", 0, dnsText(answers)},
		}},
	}
}
