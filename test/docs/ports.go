package docs

import (
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// pagePorts are the ports that pages may use: 8080, 8081 and 8443 for listeners, 9101 and 9102 for the backends one and
// two, 9109 for nobody, 9443 for a server that the page itself starts, and that of the admin API. Where a page is
// tested each becomes a free port of its own.
var pagePorts = []string{"8080", "8081", "8443", "9101", "9102", "9109", "9443", "19000"}

// pageSocket is the Unix socket of the backend three.
const pageSocket = "/tmp/sluice-example.sock"

// pagePort finds these ports in YAML, commands and outputs.
var pagePort = regexp.MustCompile(`\b(` + strings.Join(pagePorts, "|") + `)\b`)

// translation says which port or socket stands for one of a page.
type translation struct {
	port   map[string]string
	socket string
}

// newTranslation chooses a free port for each of a page.
func newTranslation(socket string) (translation, error) {
	tr := translation{port: map[string]string{}, socket: socket}
	for _, p := range pagePorts {
		n, err := freePort()
		if err != nil {
			return translation{}, err
		}
		tr.port[p] = strconv.Itoa(n)
	}
	return tr, nil
}

// there returns a text of a page as it is run.
func (tr translation) there(text string) string {
	text = strings.ReplaceAll(text, pageSocket, tr.socket)
	return pagePort.ReplaceAllStringFunc(text, func(p string) string { return tr.port[p] })
}

// back returns an output as the page would show it.
func (tr translation) back(text string) string {
	for page, port := range tr.port {
		text = strings.ReplaceAll(text, port, page)
	}
	return strings.ReplaceAll(text, tr.socket, pageSocket)
}

var ports struct {
	sync.Mutex
	next int
}

// freePort returns a port below those that the kernel gives to outgoing connections, so that nobody takes it between
// this check and its use. It has five digits, so that it is not found by chance in an output.
func freePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = 20000 + rand.IntN(8000)
	}
	for range 1000 {
		ports.next++
		if l, err := net.Listen("tcp", fmt.Sprintf(":%d", ports.next)); err == nil {
			_ = l.Close()
			return ports.next, nil
		}
	}
	return 0, fmt.Errorf("no free port below %d", ports.next)
}
