module github.com/merlon/merlon

go 1.26.0
