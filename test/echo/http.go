package echo

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

// SetHeader is the request header whose value, "name: value", becomes a header of the response. It may be repeated.
const SetHeader = "X-Echo-Set-Header"

// bodyLimit bounds what is kept of a request's body.
const bodyLimit = 1 << 20

// handler returns what answers requests:
//
//	/status/503                     that status
//	/retry/KEY?succeedAfter=2       fails twice for each KEY (with 503, or ?status=), then answers
//	/stream?n=5&every=10ms          n lines, one each interval
//	/auth/...                       200 with x-auth-user if "Authorization: Bearer let-me-in" is sent, else 401
//	/ws                             echoes WebSocket messages
//	anything else                   200
//
// Each but /ws waits for ?delay= first. gRPC calls are told apart by their content type.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/status/{code}", s.status)
	mux.HandleFunc("/retry/{key}", s.retry)
	mux.HandleFunc("/stream", s.stream)
	mux.HandleFunc("/auth/", s.auth)
	mux.Handle("/ws", s.ws)
	mux.HandleFunc("/", s.ok)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			s.grpc.ServeHTTP(w, r)
			return
		}
		s.count(r.URL.Path)
		if d, err := time.ParseDuration(r.URL.Query().Get("delay")); err == nil {
			sleep(r.Context(), d)
		}
		for _, header := range r.Header.Values(SetHeader) {
			if name, value, ok := strings.Cut(header, ":"); ok {
				w.Header().Add(strings.TrimSpace(name), strings.TrimSpace(value))
			}
		}
		// The mux answers paths such as //a or /a/../b with a redirect; an echo has to show them as they came.
		if strings.Contains(r.URL.Path, "//") || strings.Contains(r.URL.Path, "/.") {
			s.ok(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) count(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received[path]++
}

func (s *Server) ok(w http.ResponseWriter, r *http.Request) { s.answer(w, r, http.StatusOK) }

func (s *Server) answer(w http.ResponseWriter, r *http.Request, status int) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit))
	if err != nil {
		http.Error(w, fmt.Sprintf("read request body: %v", err), http.StatusBadRequest)
		return
	}
	writeJSON(w, status, s.reply(r, string(body)))
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || code < 200 || code > 599 {
		http.Error(w, "status must be between 200 and 599", http.StatusBadRequest)
		return
	}
	s.answer(w, r, code)
}

func (s *Server) retry(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	failures, err := strconv.Atoi(query.Get("succeedAfter"))
	if err != nil {
		http.Error(w, "succeedAfter must be a number", http.StatusBadRequest)
		return
	}
	status := http.StatusServiceUnavailable
	if code, err := strconv.Atoi(query.Get("status")); err == nil && code >= 200 && code <= 599 {
		status = code
	}
	s.mu.Lock()
	s.failures[r.PathValue("key")]++
	attempt := s.failures[r.PathValue("key")]
	s.mu.Unlock()
	w.Header().Set("X-Echo-Attempt", strconv.Itoa(attempt))
	if attempt > failures {
		status = http.StatusOK
	}
	s.answer(w, r, status)
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	lines, err := strconv.Atoi(query.Get("n"))
	if err != nil || lines < 1 {
		lines = 5
	}
	every, err := time.ParseDuration(query.Get("every"))
	if err != nil {
		every = 10 * time.Millisecond
	}
	flusher := http.NewResponseController(w)
	for i := range lines {
		if _, err := fmt.Fprintf(w, "%s %d\n", s.name, i); err != nil {
			return
		}
		if err := flusher.Flush(); err != nil {
			return
		}
		if i < lines-1 {
			sleep(r.Context(), every)
		}
	}
}

func (s *Server) auth(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer let-me-in" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		s.answer(w, r, http.StatusUnauthorized)
		return
	}
	w.Header().Set("X-Auth-User", "demo")
	s.answer(w, r, http.StatusOK)
}

// echoFrames sends each message back as it came.
func echoFrames(conn *websocket.Conn) {
	for {
		var message string
		if err := websocket.Message.Receive(conn, &message); err != nil {
			return
		}
		if err := websocket.Message.Send(conn, message); err != nil {
			return
		}
	}
}
