// The metrics-server as published, for `kubectl top` in tests. It runs on the
// node, outside any pod. The command is metrics-server's own; only the versions
// of its Kubernetes libraries are those of the control plane, so that packages
// which that has compiled already are not compiled again.
package main

import (
	"os"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"

	"sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

func main() {
	os.Exit(cli.Run(app.NewMetricsServerCommand(genericapiserver.SetupSignalHandler())))
}
