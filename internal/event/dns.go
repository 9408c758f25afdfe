package event

// DNS is what a DNS event adds.
type DNS struct {
	ID uint16 `json:"id" doc:"transaction id" source:"user"`
}
