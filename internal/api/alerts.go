package api

import (
	"net/http"

	"github.com/merlon/merlon/internal/event"
)

// maxHistory is the most alerts one request gets from the past.
const maxHistory = 10000

// alerts streams alerts: the last ones, then those that come.
func (s *Server) alerts(w http.ResponseWriter, r *http.Request) {
	q, err := s.parseStream(r.URL.Query())
	if err == nil && (q.filter != nil || len(q.kinds)+len(q.paths) > 0) {
		problem(w, http.StatusBadRequest, "alerts know no kind, no path and no filter", "")
		return
	}
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error(), "")
		return
	}
	if q.last < 0 || q.last > maxHistory {
		q.last = maxHistory
	}
	rd, err := s.o.Hub.ReadAlerts() // before the past, so that none is missed
	if err != nil {
		problem(w, http.StatusServiceUnavailable, err.Error(), "")
		return
	}
	defer rd.Close()
	var past []*event.Alert
	if q.last > 0 {
		if past, err = s.o.Agent.Alerts(r.Context(), q.last); err != nil {
			problem(w, http.StatusInternalServerError, err.Error(), "")
			return
		}
	}
	out := newStream(w)
	told := map[string]uint64{}
	for _, a := range past {
		told[a.ID] = a.Count
		if out.enc.Encode(a) != nil {
			return
		}
	}
	if out.flush() != nil || !q.follow {
		return
	}
	for {
		alerts, missed, err := rd.Next(r.Context())
		if err != nil {
			return
		}
		if missed > 0 && out.enc.Encode(lossEvent(&event.Loss{Of: "alert", Stage: lossStage, Reason: lossReason, Count: missed})) != nil {
			return
		}
		for _, a := range alerts {
			if told[a.ID] >= a.Count {
				continue // the past told of it
			}
			delete(told, a.ID)
			if out.enc.Encode(a) != nil {
				return
			}
		}
		if out.flush() != nil {
			return
		}
	}
}
