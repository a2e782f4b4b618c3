package weir_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A pack is one folder of Go files, parsed, and with every name resolved that the folder itself declares.
// What it imports is not loaded.
type pack struct {
	dir   string // slashes, relative to the top of the tree; "." is the top
	files []source
	fset  *token.FileSet
	info  *types.Info
}

// A source is one Go file of a pack.
type source struct {
	path      string
	syntax    *ast.File
	test      bool
	generated bool
}

// loadTree reads all Go files below root, one pack a folder.
func loadTree(t *testing.T, root string) []*pack {
	t.Helper()
	texts := map[string]map[string]string{}
	for _, name := range listFiles(t, root) {
		if path.Ext(name) != ".go" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if dir := path.Dir(name); texts[dir] == nil {
			texts[dir] = map[string]string{}
		}
		texts[path.Dir(name)][name] = string(text)
	}
	var packs []*pack
	for dir, files := range texts {
		packs = append(packs, loadPack(t, dir, files))
	}
	slices.SortFunc(packs, func(a, b *pack) int { return strings.Compare(a.dir, b.dir) })
	return packs
}

// loadPack parses texts, which is path -> content, as the files of folder dir.
func loadPack(t *testing.T, dir string, texts map[string]string) *pack {
	t.Helper()
	p := &pack{dir: dir, fset: token.NewFileSet(), info: &types.Info{
		Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
	}}
	byName := map[string][]*ast.File{} // a folder may also hold an external test package
	for name, text := range texts {
		syntax, err := parser.ParseFile(p.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		byName[syntax.Name.Name] = append(byName[syntax.Name.Name], syntax)
		p.files = append(p.files, source{
			path: name, syntax: syntax, test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(syntax),
		})
	}
	slices.SortFunc(p.files, func(a, b source) int { return strings.Compare(a.path, b.path) })
	for _, files := range byName {
		config := types.Config{Importer: hollow{}, Error: func(error) {}} // what imports would tell is missing: no error
		_, _ = config.Check(dir, p.fset, files, p.info)
	}
	return p
}

// hollow imports every package as an empty one.
type hollow struct{}

// Import returns an empty package.
func (hollow) Import(name string) (*types.Package, error) {
	empty := types.NewPackage(name, path.Base(name))
	empty.MarkComplete()
	return empty, nil
}

// written returns the files that people wrote.
func (p *pack) written() []source {
	return slices.DeleteFunc(slices.Clone(p.files), func(f source) bool { return f.generated })
}

// shipped returns the files that people wrote and that are no tests.
func (p *pack) shipped() []source {
	return slices.DeleteFunc(p.written(), func(f source) bool { return f.test })
}

// at words a finding.
func (p *pack) at(pos token.Pos, format string, args ...any) string {
	where := p.fset.Position(pos)
	return fmt.Sprintf("%s:%d: ", where.Filename, where.Line) + fmt.Sprintf(format, args...)
}

// lines returns how many lines a node takes.
func (p *pack) lines(n ast.Node) int {
	return p.fset.Position(n.End()).Line - p.fset.Position(n.Pos()).Line + 1
}

// ignored tells whether a folder holds nothing of the project: what tools and runs leave behind.
func ignored(folder string) bool {
	return folder == "bin" || folder == "weir-data" || folder[0] == '.' && folder != ".ci" && folder != ".github"
}

// listFiles returns all files below root, with slashes and relative to it.
func listFiles(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && ignored(entry.Name()):
			return fs.SkipDir
		case entry.Type().IsRegular():
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
