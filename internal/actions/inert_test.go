package actions_test

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestInert(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"text", "Updating (sg)\n\n    urn:pulumi:sg::prego  x[1] #[2]\n", "Updating (sg)\n\n    urn:pulumi:sg::prego  x[1] #[2]\n"},
		{"no last newline", "a", "a\n"},
		{"v2", "::add-mask::a\n", "| ::add-mask::a\n"},
		{"v2 after blanks", " \t\u00a0\u2003\u3000::error::a\n", "|  \t   ::error::a\n"},
		{"v2 after nothing to see", "\ufeff\u200b\u00ad::error::a", "| ::error::a\n"},
		{"v2 with a gap that is none", ":\u200d:error::a", "| ::error::a\n"},
		{"v2 after a mark", "\u0301::error::a", "| \u0301::error::a\n"},
		{"v2 after a terminal sequence", "\x1b[31m::error::a\x1b[0m", "| ::error::a\n"},
		{"v2 after a carriage return", "50%\r::error::a\r\nb\r\r\n", "50%\n| ::error::a\nb\n\n"},
		{"wide colons", "：：error：：a", "| ：：error：：a\n"},
		{"v1", "a ##[add-mask]x ####[b", "a ## [add-mask]x #### [b\n"},
		{"v1 with a gap that is none", "#\u200b#\x1b[1m[error]x", "## [error]x\n"},
		{"terminal", "\x1b]8;;http://x\x07link\x1b]8;;\x1b\\ \u009b2Kb\x1b(B\x1bc\x1bP1$q\x1b\\d\a\b", "link bd\n"},
		{"a title without an end", "\x1b]0;shown", "0;shown\n"},
		{"bidi", "a\u202eb\u2066c\u200f", "abc\n"},
		{"invalid", "a\xff\xfeb\xe2\x80\n", "a\uFFFDb\uFFFD\n"},
		{"other white space", "a\vb\fc\u0085d\u2028e", "a b c d e\n"},
		{"secret", "token c4nary/+&\"=Secret~é!", "token ***!\n"},
		{"secret in two colours", "token c4nary/+&\"\x1b[1m=Secret~é!", "token ***!\n"},
		{"secret with a gap that is none", "token c4nary/+&\"\ufe0f=Secret~é!", "token ***!\n"},
		{"long", strings.Repeat("é", 3000) + "\nb\n", strings.Repeat("é", 2048) + " … (line cut)\nb\n"},
	} {
		a, out := onRunner()
		a.Mask(canary)
		out.Reset()
		w := a.Inert(nil)
		write(t, w, tt.in, len(tt.in)+1)
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Errorf("%s: Inert(%q) (-want +got):\n%s", tt.name, tt.in, diff)
		}
	}
}

// What a child prints is shown as debug lines where those are asked for, and its own
// commands are not obeyed in them either.
func TestDebugLog(t *testing.T) {
	const in = "100%25 done\n ::set-env name=A::b\nfoo ##[error]bar\ntoken " + canary
	for _, tt := range []struct {
		running, debug string
		want           string
	}{
		{"true", "1", "::debug::100%2525 done\n::debug::|  ::set-env name=A::b\n::debug::foo ## [error]bar\n::debug::token ***\n"},
		{"", "1", "debug: 100%25 done\ndebug: |  ::set-env name=A::b\ndebug: foo ## [error]bar\ndebug: token ***\n"},
	} {
		a, out := onLaptop("GITHUB_ACTIONS", tt.running, "RUNNER_DEBUG", tt.debug)
		a.Mask(canary)
		out.Reset()
		write(t, a.DebugLog(), in, 7)
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Errorf("GITHUB_ACTIONS=%s (-want +got):\n%s", tt.running, diff)
		}
	}
	if a, _ := onRunner(); a.DebugLog() != nil {
		t.Error("a debug log that nobody has asked for")
	}
}

// Where a long line is cut, no part of a secret is left.
func TestInertCutsNoSecret(t *testing.T) {
	const half = "c4nary/+"
	places := []int{4<<10 - 5}
	for at := 16<<10 - 5; at < 16<<10+200; at += 5 {
		places = append(places, at)
	}
	for _, at := range places {
		for _, dirt := range []string{"x", "\x00", "é"} {
			a, _ := onLaptop()
			a.Mask(canary)
			var out bytes.Buffer
			w := a.Inert(&out)
			write(t, w, strings.Repeat(dirt, at/len(dirt))+canary+strings.Repeat("y", 1<<15), 1000)
			if strings.Contains(out.String(), half) || out.Len() > 5<<10 {
				t.Errorf("a secret behind %d bytes %q: %d bytes, with a part of it", at, dirt, out.Len())
			}
		}
	}
}

// Lines of several writers are whole, and a line without an end takes no memory.
func TestInertConcurrent(t *testing.T) {
	a, out := onRunner()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			w := a.Inert(nil)
			for range 100 {
				_, _ = io.WriteString(w, "one ")
				_, _ = io.WriteString(w, "line\n")
				a.Notice("", "note")
			}
		})
	}
	wg.Wait()
	for line := range strings.Lines(out.String()) {
		if line != "one line\n" && line != "::notice::note\n" {
			t.Fatalf("line %q", line)
		}
	}
}

// However a child's output is written, the runner finds no command in it, a terminal no
// control, and nobody the secret; and the size of the writes changes nothing.
func FuzzInert(f *testing.F) {
	for _, s := range []string{
		"::add-mask::x\n", "\ufeff::error::x\r::group::y", "a##[error]b", "#\x1b[m#[debug]x", "\u00a0\u0301::stop-commands::t\n",
		"：：error：：", "\x1b]0;t\x07::notice::", "\x9b1m::a::b", "plain\n", "\u3164::a::b", "##\ufe0f[a]b", "\u17b4::a::b", "\U000e0001:\U000e0020:a::",
	} {
		f.Add([]byte(s), uint16(3), uint16(0))
		f.Add(bytes.Repeat([]byte(s), 3), uint16(40), uint16(17))
	}
	f.Fuzz(func(t *testing.T, data []byte, size, at uint16) {
		in := string(data[:int(at)%(len(data)+1)]) + canary + string(data[int(at)%(len(data)+1):])
		inert := func(size int) string {
			a, out := onLaptop()
			a.Mask(canary)
			write(t, a.Inert(nil), in, size)
			return out.String()
		}
		got := inert(int(size) + 1)
		if list := append(commands(got, true), commands(got, false)...); len(list) > 0 {
			t.Errorf("%q: the runner finds %+v in %q", in, list, got)
		}
		if strings.Contains(got, canary) {
			t.Errorf("%q: the secret is in %q", in, got)
		}
		if !utf8.ValidString(got) || !strings.HasSuffix(got, "\n") {
			t.Errorf("%q: not lines of UTF-8: %q", in, got)
		}
		for line := range strings.Lines(got) {
			if len(line) > 8<<10 {
				t.Errorf("%q: a line of %d bytes", in, len(line))
			}
			for _, r := range strings.TrimSuffix(line, "\n") {
				if r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Bidi_Control, r)) {
					t.Errorf("%q: %U is in %q", in, r, line)
				}
			}
		}
		a, out := onRunner("RUNNER_DEBUG", "1")
		a.Mask(canary)
		out.Reset()
		write(t, a.DebugLog(), in, int(size)+1)
		for _, c := range append(commands(out.String(), true), commands(out.String(), false)...) {
			if c.Name != "debug" || strings.Contains(c.Data, canary) || len(commands(c.Data, true)) > 0 {
				t.Errorf("%q: as debug lines the runner finds %+v in %q", in, c, out)
			}
		}
		if again := inert(len(in)); again != got {
			t.Errorf("%q: written in pieces of %d: %q, at once: %q", in, size, got, again)
		}
	})
}

// write writes text in pieces of size bytes, and closes w.
func write(t *testing.T, w io.WriteCloser, text string, size int) {
	t.Helper()
	for len(text) > 0 {
		n := min(size, len(text))
		if got, err := io.WriteString(w, text[:n]); got != n || err != nil {
			t.Fatalf("Write = %d, %v, want %d and no error", got, err, n)
		}
		text = text[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
