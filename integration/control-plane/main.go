// One binary with the five programs of a Kubernetes control plane, for tests.
//
// The program to run is chosen by the name the binary was called by, so a
// directory of links to one file is a whole control plane. One binary instead
// of five saves four times the linking and most of the disk.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlerrors "k8s.io/kubectl/pkg/cmd/util"

	// Time zones of CronJobs; the machine may have no zone files.
	_ "time/tzdata"

	_ "k8s.io/client-go/plugin/pkg/client/auth"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// programs maps a program's name to the function that runs it and returns its
// exit code.
var programs = map[string]func() int{
	"etcd": func() int {
		etcdmain.Main(os.Args)
		return 0
	},
	"kube-apiserver": func() int {
		return cli.Run(apiserver.NewAPIServerCommand())
	},
	"kube-controller-manager": func() int {
		return cli.Run(controllermanager.NewControllerManagerCommand())
	},
	"kube-scheduler": func() int {
		return cli.Run(scheduler.NewSchedulerCommand())
	},
	"kubectl": runKubectl,
}

// runKubectl prints errors the way kubectl's users know them, which the
// generic runner would not.
func runKubectl() int {
	err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand())
	if err != nil {
		kubectlerrors.CheckErr(err)
		return 1
	}
	return 0
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
