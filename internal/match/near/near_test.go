package near

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"socket", "socket", 0},
		{"sokcet", "socket", 1}, {"socke", "socket", 1}, {"sockets", "socket", 1}, {"kitten", "sitting", 3},
	} {
		if got := Distance(c.a, c.b); got != c.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestFind(t *testing.T) {
	names := []string{"state_dir", "socket", "socket_group", "log"}
	for name, want := range map[string]string{"statedir": "state_dir", "soket": "socket", "lgo": "log", "completely_else": ""} {
		got, ok := Find(name, names)
		if got != want || ok != (want != "") {
			t.Errorf("Find(%q) = %q, %v, want %q", name, got, ok, want)
		}
	}
}
