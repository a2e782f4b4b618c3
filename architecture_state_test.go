package weir_test

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// variableFindings lets a package have no state of its own: its variables are sentinel errors, embedded
// files, tables that nothing writes to, and assertions that a type has an interface's methods.
func variableFindings(p *pack) []string {
	written := map[types.Object]token.Pos{}
	for _, f := range p.files {
		for _, target := range writtenTo(f.syntax) {
			if id := rootOf(target); id != nil && p.info.Uses[id] != nil {
				written[p.info.Uses[id]] = target.Pos()
			}
		}
	}
	var findings []string
	for _, f := range p.written() {
		for _, decl := range f.syntax.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.VAR {
				continue
			}
			for _, spec := range group.Specs {
				value := spec.(*ast.ValueSpec)
				embedded := strings.Contains(directives(group.Doc)+directives(value.Doc), "//go:embed ")
				for i, name := range value.Names {
					switch pos, dirty := written[p.info.Defs[name]]; {
					case name.Name == "_":
					case dirty:
						findings = append(findings, p.at(pos, "%s is a package's variable: nothing may write to it", name.Name))
					case !embedded && (i >= len(value.Values) || !p.constant(value.Values[i])):
						findings = append(findings, p.at(name.Pos(), "%s: a package's variable is a sentinel error, go:embed, "+
							"or a table (slice, array or map literal) that nothing writes to", name.Name))
					}
				}
			}
		}
	}
	return findings
}

// constant tells whether a package's variable may start as e: a sentinel error or a table.
func (p *pack) constant(e ast.Expr) bool {
	switch v := e.(type) {
	case *ast.CallExpr:
		called, ok := v.Fun.(*ast.SelectorExpr)
		return ok && slices.Contains([]string{"errors.New", "fmt.Errorf", "hash/crc32.MakeTable"}, p.qualified(called))
	case *ast.CompositeLit:
		switch t := v.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
			return true
		case *ast.Ident: // a named type of this package
			if named := p.info.Uses[t]; named != nil {
				switch named.Type().Underlying().(type) {
				case *types.Array, *types.Slice, *types.Map:
					return true
				}
			}
		}
	}
	return false
}

// directives returns the //go: lines of a comment, which Text leaves out.
func directives(doc *ast.CommentGroup) string {
	var lines strings.Builder
	if doc != nil {
		for _, line := range doc.List {
			lines.WriteString(line.Text + "\n")
		}
	}
	return lines.String()
}

// writtenTo returns the expressions of a file that are assigned to, or handed out so that they could be.
func writtenTo(f *ast.File) []ast.Expr {
	var targets []ast.Expr
	ast.Inspect(f, func(n ast.Node) bool {
		switch s := n.(type) {
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				targets = append(targets, s.Lhs...)
			}
		case *ast.IncDecStmt:
			targets = append(targets, s.X)
		case *ast.RangeStmt:
			if s.Tok == token.ASSIGN {
				targets = append(targets, s.Key, s.Value)
			}
		case *ast.UnaryExpr:
			if _, literal := s.X.(*ast.CompositeLit); s.Op == token.AND && !literal {
				targets = append(targets, s.X)
			}
		case *ast.CallExpr:
			called, ok := s.Fun.(*ast.Ident)
			if ok && len(s.Args) > 0 && slices.Contains([]string{"append", "clear", "copy", "delete"}, called.Name) {
				targets = append(targets, s.Args[0])
			}
		}
		return true
	})
	return targets
}

// rootOf returns the variable that e is, or is a part of.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch v := e.(type) {
		case *ast.Ident:
			return v
		case *ast.IndexExpr:
			e = v.X
		case *ast.SelectorExpr:
			e = v.X
		case *ast.SliceExpr:
			e = v.X
		case *ast.StarExpr:
			e = v.X
		case *ast.ParenExpr:
			e = v.X
		default:
			return nil
		}
	}
}

// anyFindings allows the empty interface only where forced says why. As the constraint of a type parameter
// it is no value, and what follows a format goes to fmt.
func anyFindings(p *pack) []string {
	var findings []string
	for _, u := range p.emptyInterfaces() {
		if forced[u.key] == "" {
			findings = append(findings, p.at(u.pos, "an empty interface: use a type, or add %q to forced in "+
				"architecture_test.go with the signature that forces it", u.key))
		}
	}
	return findings
}

// A use of an empty interface, and its key in forced.
type use struct {
	key string
	pos token.Pos
}

func (p *pack) emptyInterfaces() []use {
	var uses []use
	for _, f := range p.shipped() {
		for _, decl := range f.syntax.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok {
				uses = append(uses, p.emptyInterfacesIn(decl, f.path+":"+decl.(*ast.FuncDecl).Name.Name)...)
				continue
			}
			for _, spec := range group.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					uses = append(uses, p.emptyInterfacesIn(s, f.path+":"+s.Name.Name)...)
				case *ast.ValueSpec:
					uses = append(uses, p.emptyInterfacesIn(s, f.path+":"+s.Names[0].Name)...)
				}
			}
		}
	}
	return uses
}

func (p *pack) emptyInterfacesIn(declaration ast.Node, key string) []use {
	var uses []use
	ast.Inspect(declaration, func(n ast.Node) bool {
		switch v := n.(type) {
		case *ast.FieldList:
			return !p.typeParameters(v) && !formatted(v)
		case *ast.InterfaceType:
			if v.Methods.NumFields() == 0 {
				uses = append(uses, use{key, v.Pos()})
			}
		case *ast.Ident:
			if p.info.Uses[v] == types.Universe.Lookup("any") {
				uses = append(uses, use{key, v.Pos()})
			}
		}
		return true
	})
	return uses
}

// typeParameters tells whether the names that fields declare are type parameters.
func (p *pack) typeParameters(fields *ast.FieldList) bool {
	for _, field := range fields.List {
		for _, name := range field.Names {
			if object, ok := p.info.Defs[name].(*types.TypeName); ok {
				_, parameter := object.Type().(*types.TypeParam)
				return parameter
			}
		}
	}
	return false
}

// formatted tells whether parameters are those of fmt.Printf: a format, and anything.
func formatted(fields *ast.FieldList) bool {
	last := len(fields.List) - 1
	if last < 1 || len(fields.List[last-1].Names) == 0 {
		return false
	}
	_, variadic := fields.List[last].Type.(*ast.Ellipsis)
	names := fields.List[last-1].Names
	return variadic && names[len(names)-1].Name == "format"
}

// exceptionsUsed returns the keys of forced that something in the folder needs.
func exceptionsUsed(p *pack) []string {
	var keys []string
	for _, u := range p.emptyInterfaces() {
		keys = append(keys, u.key)
	}
	for _, f := range p.shipped() {
		for _, id := range declared(f.syntax) {
			if strings.HasPrefix(strings.ToLower(id.Name), "get") {
				keys = append(keys, f.path+":"+id.Name)
			}
		}
	}
	return keys
}
