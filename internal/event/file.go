package event

// FileAct is what an event about a file adds.
type FileAct struct {
	Path    Text `json:"path,omitempty" doc:"absolute path in the process's root" source:"kernel"`
	NewPath Text `json:"new_path,omitempty" doc:"the new name of a rename or link" source:"kernel"`
}

// MountAct is what a mount or umount event adds.
type MountAct struct {
	Target Text `json:"target" doc:"the mount point" source:"kernel"`
}
