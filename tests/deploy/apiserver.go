// A real kube-apiserver, built from the Go module: the project that publishes it as a
// binary does so in places that not every machine can reach. tests/deploy/apiserver.sh builds it.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
