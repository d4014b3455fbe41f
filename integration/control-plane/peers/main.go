// One binary with kubelet, kube-proxy and kubeadm, chosen by the name it was
// called by.
//
// They are peers: to compare rules and timings with, and to join a node the
// way users do. Nothing of the product links to them.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"k8s.io/component-base/cli"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubeadmerrors "k8s.io/kubernetes/cmd/kubeadm/app/util/errors"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// programs maps a program's name to the function that runs it and returns its
// exit code.
var programs = map[string]func() int{
	"kubelet": func() int {
		return cli.Run(kubelet.NewKubeletCommand(context.Background()))
	},
	"kube-proxy": func() int {
		return cli.Run(kubeproxy.NewProxyCommand())
	},
	"kubeadm": func() int {
		kubeadmerrors.HandleError(kubeadm.Run())
		return 0
	},
}

func main() {
	called := filepath.Base(os.Args[0])
	run, known := programs[called]
	if !known {
		fmt.Fprintf(os.Stderr, "called as %q: call it by a link named %s\n", called, names())
		os.Exit(2)
	}
	os.Exit(run())
}

// names lists the known program names for the error text.
func names() string {
	var all []string
	for name := range programs {
		all = append(all, name)
	}
	sort.Strings(all)
	return strings.Join(all, ", ")
}
