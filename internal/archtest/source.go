package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const maxLines = 500

// source is one Go file of the tree.
type source struct {
	path      string // from the root of the tree
	lines     int
	test      bool
	generated bool
	file      *ast.File
	fset      *token.FileSet
}

func parse(name string, content []byte) (source, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, fmt.Errorf("parse Go file: %w", err)
	}
	return source{
		path:      name,
		lines:     strings.Count(string(content), "\n"),
		test:      strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(f),
		file:      f,
		fset:      fset,
	}, nil
}

// checkSource returns what the file does that no file may.
func checkSource(s source) []string {
	var bad []string
	report := func(at token.Pos, format string, args ...any) {
		bad = append(bad, fmt.Sprintf("%s:%d: ", s.path, s.fset.Position(at).Line)+fmt.Sprintf(format, args...))
	}
	if s.lines > maxLines && !s.generated {
		report(s.file.Package, "%d lines, at most %d: split it by subject", s.lines, maxLines)
	}
	for _, imp := range s.file.Imports {
		if imp.Path.Value == `"C"` {
			report(imp.Pos(), "cgo: the agent is pure Go")
		}
	}
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			report(f.Pos(), "func init: list things literally, in catalog for plug-ins")
		}
	}
	mayLoad := s.generated || slices.Contains(loaders, path.Dir(s.path))
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "panic" && !s.test && s.file.Name.Name != "main" {
				report(n.Pos(), "panic outside main: return an error")
			}
		case *ast.SelectorExpr:
			if why := badSelector(s, n); why != "" {
				report(n.Pos(), "%s", why)
			}
			if !mayLoad && isLoader(n.Sel.Name) {
				report(n.Pos(), "%s: only internal/kernel loads BPF", n.Sel.Name)
			}
		case *ast.Ident:
			if !mayLoad && generatedLoader.MatchString(n.Name) {
				report(n.Pos(), "%s: only internal/kernel loads BPF", n.Name)
			}
		}
		return true
	})
	return bad
}

// generatedLoader matches the functions that bpf2go generates beside the one
// that returns a CollectionSpec.
var generatedLoader = regexp.MustCompile(`^[lL]oad\w+Objects$`)

func isLoader(name string) bool {
	switch name {
	case "NewCollection", "NewCollectionWithOptions", "NewProgram", "NewProgramWithOptions", "LoadAndAssign":
		return true
	}
	return false
}

// badSelector tells what is wrong with the use of pkg.Name: the process-wide
// logger, where one is passed in.
func badSelector(s source, sel *ast.SelectorExpr) string {
	id, ok := sel.X.(*ast.Ident)
	if !ok || s.test || s.file.Name.Name == "main" {
		return ""
	}
	switch name := sel.Sel.Name; importedAs(s.file, id.Name) {
	case "log/slog":
		switch name {
		case "Debug", "Info", "Warn", "Error", "Log", "Default", "SetDefault",
			"DebugContext", "InfoContext", "WarnContext", "ErrorContext":
			return "slog." + name + ": the logger is passed in"
		}
	case "log":
		return "log." + name + ": log/slog is passed in"
	}
	return ""
}

// importedAs returns the path of the package that the file calls name.
func importedAs(f *ast.File, name string) string {
	for _, imp := range f.Imports {
		p, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			continue
		}
		as := path.Base(p)
		if imp.Name != nil {
			as = imp.Name.Name
		}
		if as == name {
			return p
		}
	}
	return ""
}

// checkDocs returns the packages that do not say what they are.
func checkDocs(files []source) []string {
	documented, seen := map[string]bool{}, map[string]string{}
	for _, s := range files {
		if s.test {
			continue
		}
		dir := path.Dir(s.path)
		seen[dir] = s.file.Name.Name
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "" // begins with the command's name
		}
		if s.file.Doc != nil && strings.HasPrefix(s.file.Doc.Text(), want) {
			documented[dir] = true
		}
	}
	var bad []string
	for dir, name := range seen {
		if !documented[dir] {
			bad = append(bad, fmt.Sprintf("%s: package %s has no package comment", dir, name))
		}
	}
	return bad
}

// checkContracts returns the interfaces of a file with more than five methods,
// methods of embedded interfaces of the same files included.
func checkContracts(files []source) []string {
	ifaces := map[string]*ast.InterfaceType{}
	at := map[string]string{}
	for _, s := range files {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if t, ok := n.(*ast.TypeSpec); ok {
				if i, ok := t.Type.(*ast.InterfaceType); ok {
					ifaces[t.Name.Name] = i
					at[t.Name.Name] = fmt.Sprintf("%s:%d", s.path, s.fset.Position(t.Pos()).Line)
				}
			}
			return true
		})
	}
	var count func(name string) int
	count = func(name string) int {
		i, ok := ifaces[name]
		if !ok {
			return 0
		}
		n := 0
		for _, m := range i.Methods.List {
			if id, ok := m.Type.(*ast.Ident); ok && len(m.Names) == 0 {
				n += count(id.Name)
			}
			n += len(m.Names)
		}
		return n
	}
	var bad []string
	for name := range ifaces {
		if n := count(name); n > 5 {
			bad = append(bad, fmt.Sprintf("%s: interface %s has %d methods, at most 5", at[name], name, n))
		}
	}
	return bad
}
