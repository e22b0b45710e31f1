// Sends what it reads, one JSON object a line, with go-lumber's client: the
// code that is in every Beat since 5.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"net"
	"os"
	"sync"
	"time"

	v2 "github.com/elastic/go-lumber/client/v2"
)

func main() {
	log.SetFlags(0)
	address := flag.String("address", "", "host:port")
	window := flag.Int("window", 2048, "events of a window")
	compress := flag.Int("compress", 3, "zlib's level")
	inflight := flag.Int("inflight", 0, "windows under way at once; 0 waits for each")
	ca := flag.String("ca", "", "PEM file of who signed the server's certificate; none is no TLS")
	cert := flag.String("cert", "", "PEM file of the certificate")
	key := flag.String("key", "", "PEM file of its key")
	name := flag.String("name", "localhost", "the name in the server's certificate")
	flag.Parse()

	events := read()
	dial := net.Dial
	if *ca != "" {
		config := trust(*ca, *cert, *key, *name)
		dial = func(network, address string) (net.Conn, error) {
			return tls.Dial(network, address, config)
		}
	}
	options := []v2.Option{v2.CompressionLevel(*compress), v2.Timeout(10 * time.Second)}
	var windows [][]interface{}
	for len(events) > 0 {
		size := *window
		if size > len(events) {
			size = len(events)
		}
		windows = append(windows, events[:size])
		events = events[size:]
	}
	if *inflight == 0 {
		client, err := v2.SyncDialWith(dial, *address, options...)
		check(err)
		for _, window := range windows {
			acknowledged, err := client.Send(window)
			check(err)
			if acknowledged != len(window) {
				log.Fatalf("%d of %d events were acknowledged", acknowledged, len(window))
			}
		}
		check(client.Close())
		return
	}
	client, err := v2.AsyncDialWith(dial, *address, *inflight, options...)
	check(err)
	var pending sync.WaitGroup
	for _, window := range windows {
		pending.Add(1)
		count := len(window)
		check(client.Send(func(acknowledged uint32, err error) {
			check(err)
			if int(acknowledged) != count {
				log.Fatalf("%d of %d events were acknowledged", acknowledged, count)
			}
			pending.Done()
		}, window))
	}
	pending.Wait()
	check(client.Close())
}

func read() []interface{} {
	var events []interface{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		line := make([]byte, len(lines.Bytes()))
		copy(line, lines.Bytes())
		events = append(events, json.RawMessage(line))
	}
	check(lines.Err())
	return events
}

func trust(ca, cert, key, name string) *tls.Config {
	pem, err := os.ReadFile(ca)
	check(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		check(errors.New("no certificate in " + ca))
	}
	config := &tls.Config{RootCAs: roots, ServerName: name}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		check(err)
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
