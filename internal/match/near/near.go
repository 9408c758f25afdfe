// Package near finds the name that a person most likely meant.
package near

// maxName bounds the names compared, in bytes: distances of longer ones help
// nobody.
const maxName = 64

// Find returns the candidate closest to name by edit distance, and false when
// none is close enough to be a likely misspelling.
func Find(name string, candidates []string) (string, bool) {
	best, bestDist := "", len(name)/3+2
	if len(name) > maxName {
		return "", false
	}
	for _, c := range candidates {
		if len(c) > maxName {
			continue
		}
		if d := Distance(name, c); d < bestDist {
			best, bestDist = c, d
		}
	}
	return best, best != ""
}

// Distance is the number of bytes to insert, delete, replace or swap with
// their neighbour to turn a into b (optimal string alignment).
func Distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
