package event

// Privilege is what an event about privileges adds.
type Privilege struct {
	Result int `json:"result" doc:"0, or the negative error number" source:"kernel"`
}
