package event

import "time"

// Net is what an event about a socket adds.
type Net struct {
	Family     string        `json:"family" doc:"inet, inet6, unix, packet or a number" source:"kernel"`
	Type       string        `json:"type,omitempty" doc:"stream, dgram, raw, seqpacket or a number" source:"kernel"`
	Protocol   string        `json:"protocol,omitempty" doc:"tcp, udp, icmp, mptcp, sctp or a number" source:"kernel"`
	Direction  string        `json:"direction,omitempty" doc:"out for connections made here, in for accepted ones" source:"kernel"`
	LocalAddr  string        `json:"local_addr,omitempty" doc:"local address; one mapped into IPv6 is told as IPv4" source:"kernel"`
	LocalPort  uint16        `json:"local_port,omitempty" doc:"local port" source:"kernel"`
	RemoteAddr string        `json:"remote_addr,omitempty" doc:"address of the peer; one mapped into IPv6 is told as IPv4" source:"kernel"`
	RemotePort uint16        `json:"remote_port,omitempty" doc:"port of the peer" source:"kernel"`
	Mapped     bool          `json:"mapped,omitempty" doc:"IPv4 over an IPv6 socket" source:"kernel"`
	Path       Text          `json:"path,omitempty" doc:"name of a unix socket; @ in front for an abstract one" source:"kernel"`
	Cookie     uint64        `json:"cookie,omitempty" doc:"the kernel's number of the socket: ties the events of one connection" source:"kernel"`
	NetNS      uint32        `json:"net_ns,omitempty" doc:"inode number of the socket's network namespace" source:"kernel"`
	Interface  uint32        `json:"interface,omitempty" doc:"index of the interface, for packet sockets that are bound to one" source:"kernel"`
	Domain     string        `json:"domain,omitempty" doc:"the name that was asked for to get the remote address, from the answers seen" source:"merlon"`
	Result     int           `json:"result" doc:"0, or the negative error number; -115 (EINPROGRESS) for an outcome that is not known yet" source:"kernel"`
	NoResult   bool          `json:"no_result,omitempty" doc:"the hook does not tell the outcome" source:"merlon"`
	Backlog    uint32        `json:"backlog,omitempty" doc:"of listen(2)" source:"kernel"`
	BytesIn    uint64        `json:"bytes_in,omitempty" doc:"bytes received, at the end" source:"kernel"`
	BytesOut   uint64        `json:"bytes_out,omitempty" doc:"bytes sent, at the end" source:"kernel"`
	PacketsIn  uint64        `json:"packets_in,omitempty" doc:"segments or datagrams received, at the end" source:"kernel"`
	PacketsOut uint64        `json:"packets_out,omitempty" doc:"segments or datagrams sent, at the end" source:"kernel"`
	Retrans    uint32        `json:"retransmits,omitempty" doc:"TCP segments sent again, at the end" source:"kernel"`
	RTT        time.Duration `json:"rtt_ns,omitempty" doc:"smoothed round-trip time at the end, nanoseconds" source:"kernel"`
	Duration   time.Duration `json:"duration_ns,omitempty" doc:"from the start of the connection or flow to its end, nanoseconds; of net_connect from the SYN to the outcome" source:"kernel"`
	End        bool          `json:"end,omitempty" doc:"the connection or flow has ended: the numbers are whole" source:"merlon"`
	Seeded     bool          `json:"seeded,omitempty" doc:"the socket was there before Merlon: its process is the one that holds it" source:"merlon"`
}
