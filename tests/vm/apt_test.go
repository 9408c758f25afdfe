package vm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMirrors(t *testing.T) {
	targets := `http://mirror.example/debian-security/|bookworm-security|main|Debian
http://mirror.example/debian/|bookworm|main|Debian
http://mirror.example/debian/|bookworm-updates|main|Debian
http://mirror.example/debian/|bookworm|contrib|Debian
https://vendor.example/linux/debian/|bookworm|main|Vendor
https://fresh.example/archive/debian/20250520T000000Z/|bookworm|main|$(ORIGIN)
https://fresh.example/linux/tool/|bookworm|main|$(ORIGIN)
mirror+file:/etc/apt/mirrors/debian.list|bookworm|main|Debian
not a target
`
	want := []string{
		"http://mirror.example/debian/",
		"https://fresh.example/archive/debian/20250520T000000Z/",
		"mirror+file:/etc/apt/mirrors/debian.list",
	}
	if diff := cmp.Diff(want, parseMirrors(targets)); diff != "" {
		t.Errorf("mirrors (-want +got):\n%s", diff)
	}
}

func TestParseDependency(t *testing.T) {
	for show, want := range map[string][2]string{
		"Package: x\nDepends: linux-image-6.12.95+deb12-cloud-amd64 (= 6.12.95-1~bpo12+1)\n":       {"linux-image-6.12.95+deb12-cloud-amd64", "6.12.95-1~bpo12+1"},
		"Depends: kmod, linux-image-6.1.0-50-cloud-arm64 (= 1:6.1.176-1)\n":                        {"linux-image-6.1.0-50-cloud-arm64", "1:6.1.176-1"},
		"Depends: linux-image-6.1.0-50-cloud-arm64 (>= 6.1)\n":                                     {},
		"Depends: linux-image-../../etc (= 1)\nRecommends: linux-image-6.1.0-50-cloud-arm64 (= 1)": {},
		"": {},
	} {
		if name, version := parseDependency(show, "linux-image-"); name != want[0] || version != want[1] {
			t.Errorf("parseDependency(%q) = %q, %q; want %q", show, name, version, want)
		}
	}
}

func TestModuleName(t *testing.T) {
	for path, want := range map[string]string{
		"/lib/modules/x/kernel/net/sched/cls_bpf.ko":  "cls_bpf",
		"/lib/modules/x/kernel/net/sch-ingress.ko.xz": "sch_ingress",
		"/lib/modules/x/modules.builtin":              "",
		"/lib/.ko":                                    "",
	} {
		if got, ok := moduleName(path); ok != (want != "") || ok && got != want {
			t.Errorf("moduleName(%q) = %q, %v; want %q", path, got, ok, want)
		}
	}
}

func TestParseDepends(t *testing.T) {
	for info, want := range map[string][]string{
		"license=GPL\x00depends=nfnetlink,libcrc32c\x00name=nf_tables\x00": {"nfnetlink", "libcrc32c"},
		"depends=\x00retpoline=Y\x00":                                      nil,
		"xdepends=a\x00":                                                   nil,
		"":                                                                 nil,
	} {
		if diff := cmp.Diff(want, parseDepends([]byte(info))); diff != "" {
			t.Errorf("parseDepends(%q) (-want +got):\n%s", info, diff)
		}
	}
}

func FuzzParseModinfo(f *testing.F) {
	f.Add([]byte("license=GPL\x00depends=nfnetlink,libcrc32c\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range parseDepends(b) {
			if strings.ContainsAny(name, ",-\x00") {
				t.Errorf("%q is no module's name", name)
			}
		}
	})
}
