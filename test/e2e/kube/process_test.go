package kube

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/test/cluster/namespace"
	"github.com/sluice-gateway/sluice/test/release"
)

// replicas returns the pods of the control plane.
func (w *world) replicas() ([]corev1.Pod, error) {
	return w.pods(release.Default.Namespace, release.Default.Selector())
}

// controlled waits until so many replicas of the control plane are ready, and no others are there.
func (w *world) controlled(want int) []corev1.Pod {
	w.t.Helper()
	var pods []corev1.Pod
	w.eventually("the control plane to be ready", func() error {
		var err error
		if pods, err = w.replicas(); err != nil {
			return err
		}
		n := 0
		for _, p := range pods {
			if isReady(p) {
				n++
			}
		}
		if n != want || len(pods) != want {
			return fmt.Errorf("%d of %d replicas are ready, want %d", n, len(pods), want)
		}
		return nil
	})
	return pods
}

// leader returns the pod that holds the Lease.
func (w *world) leader() string {
	w.t.Helper()
	holder := ""
	w.eventually("a leader", func() error {
		var err error
		holder, err = w.holder()
		return err
	})
	return holder
}

func (w *world) holder() (string, error) { return release.Default.Leader(w.t.Context(), w.api) }

// process returns the process of a container: that whose command line has a word, and whose POD_NAME is the pod's.
func (w *world) process(pod corev1.Pod, word string) (pid int, err error) {
	group := namespace.Group("sluice-" + w.Name + "/" + pod.Spec.NodeName)
	pids, err := group.Processes()
	if err != nil {
		return 0, err
	}
	variable := []byte("POD_NAME=" + pod.Name)
	for _, pid := range pids {
		args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil { // it has ended
			continue
		}
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			continue
		}
		if has(args, []byte(word)) && has(env, variable) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("pod %s has no process %q on %s", pod.Name, word, pod.Spec.NodeName)
}

// has says whether a list that NULs separate, as the kernel shows them, has an element.
func has(list, element []byte) bool {
	for e := range bytes.SplitSeq(list, []byte{0}) {
		if bytes.Equal(e, element) {
			return true
		}
	}
	return false
}

// The words by which processes are known.
const (
	serveWord = "serve"
	envoyWord = "--service-cluster"
)

// signal sends a signal to the process of a pod.
func (w *world) signal(pod corev1.Pod, word string, sig syscall.Signal) {
	w.t.Helper()
	pid, err := w.process(pod, word)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		w.t.Fatalf("%v to %s: %v", sig, pod.Name, err)
	}
}

// pod finds a pod by its name.
func pod(pods []corev1.Pod, name string) (corev1.Pod, bool) {
	for _, p := range pods {
		if p.Name == name {
			return p, true
		}
	}
	return corev1.Pod{}, false
}

// eachProcess returns the processes of the control plane by the name of their pod.
func (w *world) eachProcess(replicas []corev1.Pod) map[string]int {
	w.t.Helper()
	out := map[string]int{}
	for _, p := range replicas {
		pid, err := w.process(p, serveWord)
		if err != nil {
			w.t.Fatal(err)
		}
		out[p.Name] = pid
	}
	return out
}

// startedAgain says what keeps replicas from being ready, as they say themselves, in other processes than before.
func (w *world) startedAgain(replicas []corev1.Pod, before map[string]int) error {
	for _, p := range replicas {
		pid, err := w.process(p, serveWord)
		if err != nil {
			return err
		}
		if pid == before[p.Name] {
			return fmt.Errorf("%s has not been started again", p.Name)
		}
		if err := w.saysReady(p); err != nil {
			return err
		}
	}
	return nil
}

// saysReady says what keeps a replica of the control plane from saying itself that it is ready.
func (w *world) saysReady(p corev1.Pod) error {
	status, err := w.ask(net.JoinHostPort(p.Status.PodIP, adminPort), "admin", "/readyz", "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s is not ready: %d", p.Name, status)
	}
	return err
}

// adminPort is where a control plane says whether it is ready.
const adminPort = "19001"
