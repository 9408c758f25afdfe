package main

// scenes are the acts, other than of processes, whose records make a stream.
func scenes() map[stream]scene { return map[stream]scene{} }
