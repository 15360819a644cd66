package gossipcontrol

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Credentials names files that show who the client is, and which service it believes. Certificate, key and token are
// read again at each handshake or call, so that they can be replaced.
type Credentials struct {
	// Authority has the certificates that signed the service's, in PEM; empty: those of the system.
	Authority string
	// Certificate and Key are the client's own, in PEM; empty: it shows none.
	Certificate, Key string
	// Token is a bearer token, alone in its file; empty: none is sent.
	Token string
}

// CredentialsFromEnvironment takes the paths from GOSSIPCONTROL_TLS_AUTHORITY, _CERTIFICATE, _KEY and _TOKEN.
func CredentialsFromEnvironment() Credentials {
	path := func(name string) string { return os.Getenv("GOSSIPCONTROL_TLS_" + name) }
	return Credentials{path("AUTHORITY"), path("CERTIFICATE"), path("KEY"), path("TOKEN")}
}

func (c Credentials) options() ([]grpc.DialOption, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if (c.Certificate == "") != (c.Key == "") {
		return nil, fmt.Errorf("a certificate and its key belong together: both are given, or neither")
	}
	if c.Authority != "" {
		content, err := os.ReadFile(c.Authority)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("%s: has no certificate in PEM", c.Authority)
		}
	}
	if c.Certificate != "" {
		load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
			return &pair, err
		}
		if _, err := load(nil); err != nil {
			return nil, err
		}
		config.GetClientCertificate = load
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(config))}
	if c.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(token(c.Token)))
	}
	return options, nil
}

// token sends the token that a file has at each call.
type token string

func (path token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	content, err := os.ReadFile(string(path))
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(content))}, nil
}

// RequireTransportSecurity keeps the token off connections without TLS.
func (path token) RequireTransportSecurity() bool { return true }
