package event

// Net is what an event about a socket adds.
type Net struct {
	Socket *Socket `json:"socket" doc:"the socket" source:"kernel"`
}
