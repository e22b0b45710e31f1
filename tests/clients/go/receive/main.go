// Receives with go-lumber's server, which is what takes Beats in Elastic's own
// programs, and prints each event on a line of its own.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/elastic/go-lumber/server"
)

func main() {
	log.SetFlags(0)
	folder := flag.String("tls", "", "folder for certificates that it makes; none is no TLS")
	hold := flag.Duration("hold", 0, "how long to keep a window before it is acknowledged")
	flag.Parse()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	address := listener.Addr().String()
	if *folder != "" {
		listener = tls.NewListener(listener, certificates(*folder))
	}
	receiver, err := server.NewWithListener(listener, server.V2(true), server.Keepalive(20*time.Millisecond))
	check(err)
	fmt.Println("listens on", address)
	out := json.NewEncoder(os.Stdout)
	for batch := range receiver.ReceiveChan() {
		time.Sleep(*hold)
		for _, event := range batch.Events {
			check(out.Encode(event))
		}
		batch.ACK()
	}
}

// certificates makes an authority (ca.pem), a server's identity and a client's
// (client.crt, client.key), and wants clients to show theirs.
func certificates(folder string) *tls.Config {
	authority, authorityKey := sign(folder, "ca.pem", "", nil, nil)
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	sign(folder, "client.crt", "client.key", authority, authorityKey)
	sign(folder, "server.crt", "server.key", authority, authorityKey)
	own, err := tls.LoadX509KeyPair(filepath.Join(folder, "server.crt"), filepath.Join(folder, "server.key"))
	check(err)
	return &tls.Config{
		Certificates: []tls.Certificate{own},
		ClientCAs:    roots,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}
}

func sign(folder, certFile, keyFile string, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: certFile},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true,
	}
	if issuer == nil {
		template.IsCA = true
		template.KeyUsage = x509.KeyUsageCertSign
		issuer, issuerKey = template, key
	} else {
		template.DNSNames = []string{"receiver.example.org"}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	check(err)
	certificate, err := x509.ParseCertificate(der)
	check(err)
	write(folder, certFile, "CERTIFICATE", der)
	if keyFile != "" {
		keyDer, err := x509.MarshalPKCS8PrivateKey(key)
		check(err)
		write(folder, keyFile, "PRIVATE KEY", keyDer)
	}
	return certificate, key
}

func write(folder, file, kind string, der []byte) {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	check(os.WriteFile(filepath.Join(folder, file), text, 0o600))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
