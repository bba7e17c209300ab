package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/test/apiserver"
	"github.com/sluice-gateway/sluice/test/bench/process"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// plane is a control plane: a running `sluice serve`.
type plane struct {
	*process.Process
	xds, admin string
	began      time.Time
}

// start starts a control plane, after the one before was ended.
func (w *world) start() error {
	kubeconfig := filepath.Join(w.dir, "kubeconfig")
	err := os.WriteFile(kubeconfig, apiserver.Kubeconfig(w.server.Config(apiserver.Admin)), 0o600)
	if err != nil {
		return err
	}
	p := &plane{}
	for _, address := range []*string{&p.xds, &p.admin} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		*address = l.Addr().String()
		if err := l.Close(); err != nil {
			return err
		}
	}
	if w.plane != nil {
		w.plane.Stop()
	}
	p.began = time.Now()
	p.Process, err = process.Start(w.log("sluice"), w.sluice, "serve", "--kubeconfig", kubeconfig,
		"--namespace", "sluice-system", "--xds-address", p.xds, "--admin-address", p.admin, "--shutdown-timeout", "1s")
	w.plane = p
	return err
}

// ready waits until the control plane serves Envoys, or has ended.
func (p *plane) ready(ctx context.Context) error {
	var ended error
	err := until(ctx, "the control plane is ready", func() bool {
		if ended = p.Running(); ended != nil {
			return true
		}
		resp, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	if ended != nil {
		return ended
	}
	return err
}

// authority is what signs the certificates of Envoys.
func (w *world) authority(ctx context.Context) (*pki.Authority, error) {
	var u *unstructured.Unstructured
	err := until(ctx, "there is a certificate authority", func() bool {
		var err error
		u, err = w.client.Resource(secretResource).Namespace("sluice-system").
			Get(ctx, "sluice-authority", metav1.GetOptions{})
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	text, _, err := unstructured.NestedString(u.Object, "data", "authorities.pem")
	if err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	roster, err := pki.ParseRoster(data, pki.DefaultTerm)
	if err != nil {
		return nil, err
	}
	a := pki.NewAuthority(time.Now)
	a.Set(roster)
	return a, nil
}

// work is what a control plane has done since it began.
type work struct {
	// cpu in milliseconds.
	cpu float64
	// keys of the engine that were computed, bytes sent to Envoys, bytes allocated.
	keys, sent, allocated float64
	// written are the statuses that were written, waiting those that are still to be.
	written, waiting float64
}

func (a work) minus(b work) work {
	return work{
		cpu: a.cpu - b.cpu, keys: a.keys - b.keys, sent: a.sent - b.sent, allocated: a.allocated - b.allocated,
		written: a.written - b.written, waiting: a.waiting,
	}
}

// work reads the control plane's own metrics.
func (p *plane) work() (work, error) {
	var out work
	cpu, err := usage.CPU(p.PID())
	if err != nil {
		return out, err
	}
	out.cpu = float64(cpu) / float64(time.Millisecond)
	resp, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		return out, err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		// A label's value may have spaces.
		at := strings.LastIndexByte(lines.Text(), ' ')
		if at < 0 {
			continue
		}
		number, _ := strconv.ParseFloat(lines.Text()[at+1:], 64)
		switch metric, _, _ := strings.Cut(lines.Text()[:at], "{"); metric {
		case "sluice_recomputed_keys_total":
			out.keys += number
		case "sluice_xds_pushed_bytes_total":
			out.sent += number
		case "go_memstats_alloc_bytes_total":
			out.allocated = number
		case "sluice_status_writes_total":
			out.written += number
		case "sluice_status_waiting":
			out.waiting = number
		}
	}
	return out, lines.Err()
}
