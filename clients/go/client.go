// Package gossipcontrol reports to GossipControl what happened to a device.
package gossipcontrol

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "gossipcontrol/v1"
)

const (
	// attemptTime is how long one attempt may take.
	attemptTime = 5 * time.Second
	// firstWait bounds the first wait between two attempts; it doubles with each.
	firstWait = 200 * time.Millisecond
	// longestWait bounds every wait that the service does not ask for.
	longestWait = 10 * time.Second
)

// Client reports over one connection. It is safe for concurrent use.
type Client struct {
	connection *grpc.ClientConn
	service    pb.GossipControlClient
}

// New returns a client of the service at address: 127.0.0.1:7420 for one on this machine, or tls:hub.example.org:7443
// for a hub, which is reached over TLS with the credentials of the environment. It connects with the first report.
func New(address string) (*Client, error) {
	if where, isHub := strings.CutPrefix(address, "tls:"); isHub {
		return NewTLS(where, CredentialsFromEnvironment())
	}
	return connect(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
}

// NewTLS returns a client of the hub at address, for example hub.example.org:7443.
func NewTLS(address string, shown Credentials) (*Client, error) {
	options, err := shown.options()
	if err != nil {
		return nil, err
	}
	return connect(address, options...)
}

func connect(address string, options ...grpc.DialOption) (*Client, error) {
	connection, err := grpc.NewClient(address, options...)
	if err != nil {
		return nil, err
	}
	return &Client{connection, pb.NewGossipControlClient(connection)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.connection.Close() }

// Report says that something happened just now to the device on which the nodes run. It tries until the context ends:
// with the same request id, so that the service decides once; with the age of the change, so that a late report is
// known to be late. An error that another attempt cannot mend is returned at once.
func (c *Client) Report(
	ctx context.Context, kind pb.NetworkChangeKind, platform pb.Platform, nodeIDs ...string,
) ([]*pb.Decision, error) {
	happened := time.Now()
	request := &pb.ReportNetworkChangeRequest{
		RequestId:   uuid.NewString(),
		NodeIds:     nodeIDs,
		Kind:        kind,
		Platform:    platform,
		ParkUnknown: true, // the node may attach later
	}
	for attempt := 0; ; attempt++ {
		request.AgeMs = uint64(time.Since(happened).Milliseconds())
		response, err := c.try(ctx, request)
		if err == nil {
			return response.GetDecisions(), nil
		}
		if ctx.Err() != nil || !retryable(err) {
			return nil, err
		}
		select {
		case <-time.After(wait(attempt, err)):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (c *Client) try(
	ctx context.Context, request *pb.ReportNetworkChangeRequest,
) (*pb.ReportNetworkChangeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	return c.service.ReportNetworkChange(ctx, request)
}

func retryable(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Aborted:
		return true
	default:
		return false
	}
}

// wait is what the service asks for (RetryInfo), or exponential backoff with full jitter.
func wait(attempt int, err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return retry.GetRetryDelay().AsDuration()
		}
	}
	limit := min(firstWait<<min(attempt, 10), longestWait)
	return rand.N(limit)
}
