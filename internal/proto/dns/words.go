package dns

import "strconv"

// Types that are read (RFC 1035 3.2.2, 3596, 2782, 6672, 6891, 7208).
const (
	typeA     = 1
	typeNS    = 2
	typeCNAME = 5
	typePTR   = 12
	typeMX    = 15
	typeTXT   = 16
	typeAAAA  = 28
	typeSRV   = 33
	typeDNAME = 39
	typeOPT   = 41
	typeSPF   = 99
)

// typeName returns the mnemonic of a type, TYPE123 for one without (RFC 3597, 5).
func typeName(t uint16) string {
	switch t {
	case typeA:
		return "A"
	case typeNS:
		return "NS"
	case typeCNAME:
		return "CNAME"
	case 6:
		return "SOA"
	case typePTR:
		return "PTR"
	case 13:
		return "HINFO"
	case typeMX:
		return "MX"
	case typeTXT:
		return "TXT"
	case typeAAAA:
		return "AAAA"
	case 29:
		return "LOC"
	case typeSRV:
		return "SRV"
	case 35:
		return "NAPTR"
	case typeDNAME:
		return "DNAME"
	case typeOPT:
		return "OPT"
	}
	return rareType(t)
}

func rareType(t uint16) string {
	switch t {
	case 10:
		return "NULL"
	case 37:
		return "CERT"
	case 43:
		return "DS"
	case 44:
		return "SSHFP"
	case 46:
		return "RRSIG"
	case 47:
		return "NSEC"
	case 48:
		return "DNSKEY"
	case 50:
		return "NSEC3"
	case 51:
		return "NSEC3PARAM"
	case 52:
		return "TLSA"
	case 59:
		return "CDS"
	case 60:
		return "CDNSKEY"
	case 61:
		return "OPENPGPKEY"
	case 64:
		return "SVCB"
	case 65:
		return "HTTPS"
	case typeSPF:
		return "SPF"
	case 249:
		return "TKEY"
	case 250:
		return "TSIG"
	case 251:
		return "IXFR"
	case 252:
		return "AXFR"
	case 255:
		return "ANY"
	case 256:
		return "URI"
	case 257:
		return "CAA"
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// className returns "" for the Internet, as event.DNS does.
func className(c uint16) string {
	switch c {
	case 1:
		return ""
	case 3:
		return "CH"
	case 4:
		return "HS"
	case 254:
		return "NONE"
	case 255:
		return "ANY"
	}
	return "CLASS" + strconv.Itoa(int(c))
}

// opcodeName: RFC 1035, 1996, 2136, 8490.
func opcodeName(op uint16) string {
	names := [...]string{"QUERY", "IQUERY", "STATUS", "", "NOTIFY", "UPDATE", "DSO"}
	if int(op) < len(names) && names[op] != "" {
		return names[op]
	}
	return "OPCODE" + strconv.Itoa(int(op))
}

// codeName: RFC 6895, 2.3; 16 and above come with EDNS.
func codeName(code uint16) string {
	names := [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
		"NXRRSET", "NOTAUTH", "NOTZONE", "DSOTYPENI", "", "", "", "", "BADVERS", "BADKEY", "BADTIME", "BADMODE",
		"BADNAME", "BADALG", "BADTRUNC", "BADCOOKIE"}
	if int(code) < len(names) && names[code] != "" {
		return names[code]
	}
	return "RCODE" + strconv.Itoa(int(code))
}
