package weir_test

import (
	"fmt"
	"go/ast"
	"go/types"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A rule looks at one folder and returns its findings, one a line, each with file and line.
type rule struct {
	name  string
	check func(*pack) []string
}

func rules() []rule {
	return []rule{
		{"imports", importFindings},
		{"package doc", packageDocFindings},
		{"size", sizeFindings},
		{"variables", variableFindings},
		{"init", initFindings},
		{"calls", callFindings},
		{"empty interface", anyFindings},
		{"doc comments", docFindings},
		{"names", nameFindings},
		{"todo", todoFindings},
	}
}

const (
	functionLinesMax   = 70
	fileLinesMax       = 500
	packageDocLinesMax = 10
)

func packageDocFindings(p *pack) []string {
	files := p.shipped()
	if len(files) == 0 { // a folder of tests only, such as the top
		files = p.written()
	}
	var documented []source
	for _, f := range files {
		if f.syntax.Doc != nil {
			documented = append(documented, f)
		}
	}
	switch {
	case len(files) == 0: // generated
		return nil
	case len(documented) != 1:
		return []string{fmt.Sprintf("%s: %d files carry a package doc; exactly one must", files[0].path, len(documented))}
	}
	doc := documented[0].syntax.Doc
	if n := strings.Count(doc.Text(), "\n"); n == 0 || n > packageDocLinesMax { // Text leaves directives out
		return []string{p.at(doc.Pos(), "the package doc has %d lines; 1 to %d tell what the package hides", n, packageDocLinesMax)}
	}
	return nil
}

func sizeFindings(p *pack) []string {
	var findings []string
	for _, f := range p.written() {
		if n := p.fset.File(f.syntax.Pos()).LineCount(); n > fileLinesMax {
			findings = append(findings, fmt.Sprintf("%s: %d lines, at most %d: find the missing concept", f.path, n, fileLinesMax))
		}
		for _, decl := range f.syntax.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := p.lines(function); n > functionLinesMax {
				findings = append(findings, p.at(function.Pos(), "%s has %d lines, at most %d: find the missing concept",
					function.Name.Name, n, functionLinesMax))
			}
		}
	}
	return findings
}

func initFindings(p *pack) []string {
	var findings []string
	for _, f := range p.written() {
		for _, decl := range f.syntax.Decls {
			if function, ok := decl.(*ast.FuncDecl); ok && function.Recv == nil && function.Name.Name == "init" {
				findings = append(findings, p.at(function.Pos(), "no init: whoever needs it calls it"))
			}
		}
	}
	return findings
}

// callFindings judges names of the standard library that only some places may use, called or not.
func callFindings(p *pack) []string {
	top, _, _ := strings.Cut(p.dir, "/")
	clockless := slices.Contains([]string{"ring", "limiter", "policy", "ledger", "cluster", "transport"}, top)
	deadlines := top == "cluster" || top == "transport" // a context's deadline is on the machine's clock
	var findings []string
	for _, f := range p.shipped() {
		program := f.syntax.Name.Name == "main"
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch name := p.qualified(selector); name {
			case "time.Now", "time.Since", "time.Until":
				if clockless && (name != "time.Until" || !deadlines) {
					findings = append(findings, p.at(n.Pos(), "%s reads no clock: time comes as a parameter, or as a now func in Config", top))
				}
			case "os.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln":
				if !program {
					findings = append(findings, p.at(n.Pos(), "only main ends the process"))
				}
			case "os.Getenv", "os.LookupEnv", "os.Environ":
				if top != "cmd" && top != "tools" {
					findings = append(findings, p.at(n.Pos(), "only cmd reads the environment"))
				}
			}
			return true
		})
		for _, spec := range f.syntax.Imports {
			if spec.Name != nil && spec.Name.Name == "." {
				findings = append(findings, p.at(spec.Pos(), "no dot import: it hides where a name is from"))
			}
		}
	}
	return findings
}

// qualified returns path.Name for a name out of another package, whatever the import is called here.
func (p *pack) qualified(s *ast.SelectorExpr) string {
	if id, ok := s.X.(*ast.Ident); ok {
		if from, ok := p.info.Uses[id].(*types.PkgName); ok {
			return from.Imported().Path() + "." + s.Sel.Name
		}
	}
	return ""
}

func docFindings(p *pack) []string {
	var findings []string
	for _, f := range p.shipped() {
		for _, decl := range f.syntax.Decls {
			for _, id := range undocumented(decl) {
				findings = append(findings, p.at(id.Pos(), "%s is exported: its comment gives the contract", id.Name))
			}
		}
	}
	return findings
}

// undocumented returns the exported names that decl declares without a comment. One comment does for a
// group of constants or variables; a type has its own, or stands alone under that of its declaration.
func undocumented(decl ast.Decl) []*ast.Ident {
	var missing []*ast.Ident
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Doc.Text() == "" && d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiverType(d))) {
			missing = append(missing, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc.Text() == "" && (d.Doc.Text() == "" || len(d.Specs) > 1) {
					missing = append(missing, s.Name)
				}
			case *ast.ValueSpec:
				if s.Doc.Text() == "" && s.Comment.Text() == "" && d.Doc.Text() == "" {
					missing = append(missing, slices.DeleteFunc(slices.Clone(s.Names), func(id *ast.Ident) bool { return !id.IsExported() })...)
				}
			}
		}
	}
	return missing
}

func receiverType(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return ""
	}
	name := ""
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name // the first is the type, any other a type parameter
		}
		return true
	})
	return name
}

func nameFindings(p *pack) []string {
	const words = `Manager|Helper|Util|Impl|Info|Base|Common`
	empty := regexp.MustCompile(`(` + words + `|^(` + strings.ToLower(words) + `))s?([A-Z0-9_.]|$)`)
	terms := regexp.MustCompile(`[Bb]ase(URL|64|32)`) // words of their own
	vague := func(name string) bool { return empty.MatchString(terms.ReplaceAllString(name, "")) }
	prefix := regexp.MustCompile(`^[Gg]et([A-Z0-9]|$)`)
	var findings []string
	for _, f := range p.written() {
		if base := path.Base(f.path); vague(strings.TrimSuffix(base, "_test.go")) {
			findings = append(findings, fmt.Sprintf("%s: the file's name says nothing: name the concept", f.path))
		}
		for _, id := range declared(f.syntax) {
			if vague(id.Name) {
				findings = append(findings, p.at(id.Pos(), "%s: a name with Manager, Helper, Util, Impl, Info, Base or Common says nothing: name the thing", id.Name))
			}
		}
		for _, decl := range f.syntax.Decls {
			d, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if prefix.MatchString(d.Name.Name) && !ofProtobuf(d) && forced[f.path+":"+d.Name.Name] == "" {
				findings = append(findings, p.at(d.Pos(), "%s: no Get prefix", d.Name.Name))
			}
			if d.Recv != nil && len(d.Recv.List[0].Names) > 0 && len(d.Recv.List[0].Names[0].Name) > 2 {
				findings = append(findings, p.at(d.Pos(), "receiver %s: one or two letters do", d.Recv.List[0].Names[0].Name))
			}
		}
	}
	return findings
}

// declared returns the names that a file declares at its top, and those of methods.
func declared(f *ast.File) []*ast.Ident {
	var ids []*ast.Ident
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			ids = append(ids, d.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					ids = append(ids, s.Name)
				case *ast.ValueSpec:
					ids = append(ids, s.Names...)
				}
			}
		}
	}
	return ids
}

// ofProtobuf tells whether d has the name and shape of a procedure: GetX takes a GetXRequest.
func ofProtobuf(d *ast.FuncDecl) bool {
	for _, parameter := range d.Type.Params.List {
		if star, ok := parameter.Type.(*ast.StarExpr); ok {
			if s, ok := star.X.(*ast.SelectorExpr); ok && s.Sel.Name == d.Name.Name+"Request" {
				return true
			}
		}
	}
	return false
}

func todoFindings(p *pack) []string {
	mark := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	var findings []string
	for _, f := range p.written() {
		for _, group := range f.syntax.Comments {
			if mark.MatchString(group.Text()) {
				findings = append(findings, p.at(group.Pos(), "a note to do something later belongs in an issue"))
			}
		}
	}
	return findings
}
