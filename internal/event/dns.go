package event

// DNS is what a DNS event adds. What a message says is what its sender wrote.
type DNS struct {
	ID         uint16      `json:"id" doc:"transaction id" source:"user"`
	Response   bool        `json:"response,omitempty" doc:"an answer, not a query" source:"user"`
	Opcode     string      `json:"opcode,omitempty" doc:"operation, when it is not a query" source:"user"`
	Code       string      `json:"code,omitempty" doc:"response code: NOERROR, NXDOMAIN, SERVFAIL and so on" source:"user"`
	Name       Text        `json:"name,omitempty" doc:"the name asked for, in lower case, without the last dot; bytes that are not printable as \\DDD" source:"user"`
	Type       string      `json:"type,omitempty" doc:"the type asked for: A, AAAA, TXT and so on" source:"user"`
	Class      string      `json:"class,omitempty" doc:"the class asked for, when it is not IN" source:"user"`
	Answers    []DNSRecord `json:"answers,omitempty" doc:"the answer section, at most 64 records" source:"user"`
	Truncated  bool        `json:"truncated,omitempty" doc:"the sender had to leave something out (TC)" source:"user"`
	Recursion  bool        `json:"recursion_desired,omitempty" doc:"recursion desired" source:"user"`
	Authority  bool        `json:"authoritative,omitempty" doc:"authoritative answer" source:"user"`
	EDNSSize   uint16      `json:"edns_size,omitempty" doc:"largest UDP payload that the sender takes (EDNS)" source:"user"`
	Malformed  string      `json:"malformed,omitempty" doc:"why the rest of the message could not be read" source:"merlon"`
	Cut        bool        `json:"cut,omitempty" doc:"the message was longer than what the sensor copies" source:"merlon"`
	Transport  string      `json:"transport" doc:"udp or tcp" source:"kernel"`
	Direction  string      `json:"direction" doc:"out for messages sent, in for received ones" source:"kernel"`
	Flavour    string      `json:"flavour" doc:"dns, mdns or llmnr, by the port" source:"kernel"`
	LocalAddr  string      `json:"local_addr,omitempty" doc:"local address" source:"kernel"`
	LocalPort  uint16      `json:"local_port,omitempty" doc:"local port" source:"kernel"`
	RemoteAddr string      `json:"remote_addr,omitempty" doc:"address of the peer" source:"kernel"`
	RemotePort uint16      `json:"remote_port,omitempty" doc:"port of the peer" source:"kernel"`
	Size       uint32      `json:"size" doc:"length of the message in bytes" source:"kernel"`
}

// DNSRecord is one resource record of an answer.
type DNSRecord struct {
	Name Text   `json:"name" doc:"owner" source:"user"`
	Type string `json:"type" doc:"record type" source:"user"`
	TTL  uint32 `json:"ttl" doc:"seconds that it may be kept" source:"user"`
	Data Text   `json:"data,omitempty" doc:"address, name or text; of other types the length only" source:"user"`
}
