// A cluster DNS server for tests: CoreDNS with only the plugins that the
// cluster's Service records need. It runs on the node, outside any pod, so
// that DNS is there before the node agent under test has started one.
package main

import (
	"fmt"
	"os"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// The order is the order in which a query passes the plugins, whatever
	// order the configuration file names them in.
	err := dnsserver.SetDirectives([]string{
		"bind",
		"health",
		"ready",
		"errors",
		"loadbalance",
		"cache",
		"kubernetes",
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	coremain.Run()
}
