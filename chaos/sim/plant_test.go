package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// plantedBy names the environment variable that says which planted bug is in force. Only a binary that was built with
// the plants reads it: production code has no switch.
const plantedBy = "WEIR_PLANTED_BUG"

// plantTries is how often a plant's schedule is run at most until its checker rings: a run does not repeat exactly.
const plantTries = 4

// plant is a bug of testdata/planted: edits of files that are there, and files that are not.
type plant struct {
	name     string
	What     string            `yaml:"what"`
	CaughtBy []string          `yaml:"caught_by"` // any of these invariants
	Edits    []edit            `yaml:"edits"`
	Files    map[string]string `yaml:"files"`
	Schedule Schedule          `yaml:"schedule"`
}

// edit puts a text in the place of one that stands in the file once. Both are told by their lines without the
// indentation, so that small drifts of the file do not matter.
type edit struct {
	File string `yaml:"file"`
	Find string `yaml:"find"`
	Put  string `yaml:"put"`
}

func plants(t *testing.T) []plant {
	t.Helper()
	files, err := filepath.Glob("testdata/planted/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no plants: %v", err)
	}
	var all []plant
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p := plant{name: strings.TrimSuffix(filepath.Base(file), ".yaml")}
		d := yaml.NewDecoder(bytes.NewReader(text))
		d.KnownFields(true)
		if err := d.Decode(&p); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := p.Schedule.Validate(); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, p)
	}
	return all
}

// apply makes the edit, which must still fit the file.
func (e edit) apply(text string) (string, error) {
	lines, find := strings.Split(text, "\n"), trimmed(e.Find)
	at := -1
	for i := range len(lines) - len(find) + 1 {
		if !slices.Equal(trimmed(strings.Join(lines[i:i+len(find)], "\n")), find) {
			continue
		}
		if at >= 0 {
			return "", fmt.Errorf("%s: %q stands there twice: say more of it", e.File, e.Find)
		}
		at = i
	}
	if at < 0 {
		return "", fmt.Errorf("%s: %q stands there no more: plant the bug anew", e.File, e.Find)
	}
	return strings.Join(slices.Replace(lines, at, at+len(find), strings.Split(e.Put, "\n")...), "\n"), nil
}

func trimmed(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

// plantAll builds this package's tests over a tree in which every bug is planted, none of them in force.
func plantAll(t *testing.T, all []plant) (binary string) {
	t.Helper()
	const root = "../.."
	texts := make(map[string]string)
	for _, p := range all {
		for _, e := range p.Edits {
			text, ok := texts[e.File]
			if !ok {
				read, err := os.ReadFile(filepath.Join(root, e.File))
				if err != nil {
					t.Fatal(err)
				}
				text = string(read)
			}
			changed, err := e.apply(text)
			if err != nil {
				t.Fatalf("plant %s: %v", p.name, err)
			}
			texts[e.File] = changed
		}
		maps.Copy(texts, p.Files)
	}
	for _, file := range slices.Sorted(maps.Keys(texts)) {
		dir := path.Dir(file)
		texts[dir+"/planted.go"] = "package " + path.Base(dir) + "\n\nimport \"os\"\n\n" +
			"func planted(name string) bool { return os.Getenv(\"" + plantedBy + "\") == name }\n"
	}
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for file, text := range texts {
		kept := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(kept, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		at, err := filepath.Abs(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		overlay.Replace[at] = kept
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o644); err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "planted.test")
	if kept := flagged[string]("keep"); kept != "" {
		binary = filepath.Join(kept, "planted.test")
	}
	if out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay", list, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build with the planted bugs: %v\n%s", err, out)
	}
	return binary
}

// TestPlantedBugsAreCaught runs a schedule with each planted bug in force: the checker it names must ring, and must not
// ring when the same binary runs the same schedule without it.
func TestPlantedBugsAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the tests anew")
	}
	t.Parallel()
	all := plants(t)
	binary, lane := plantAll(t, all), lanes()
	for _, p := range all {
		file := filepath.Join(t.TempDir(), p.name+".yaml")
		text, err := p.Schedule.Write()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			lane <- struct{}{}
			defer func() { <-lane }()
			if rung, out := p.rings(t, binary, "", file); rung {
				t.Errorf("%v ring without the bug too\n%s", p.CaughtBy, tail(out))
			}
			for range plantTries {
				if rung, _ := p.rings(t, binary, p.name, file); rung {
					return
				}
			}
			t.Errorf("%v did not ring in %d runs: %s", p.CaughtBy, plantTries, p.What)
		})
	}
}

// rings runs the plant's schedule once and says whether one of its checkers rang.
func (p plant) rings(t *testing.T, binary, inForce, file string) (rung bool, out []byte) {
	t.Helper()
	done, out, err := children(binary, inForce, "-schedule", file)
	if len(done) != 1 {
		t.Fatalf("the run with %q in force: %v\n%s", inForce, err, tail(out))
	}
	for _, name := range p.CaughtBy {
		all := append(slices.Clone(done[0].Refuted), done[0].Expected...)
		if name == "H1" {
			all = done[0].Open
		}
		rung = rung || slices.Contains(all, name)
	}
	return rung, out
}
