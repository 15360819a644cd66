// Package gossipcontrol reports to GossipControl what happened to a device.
package gossipcontrol

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "gossipcontrol/v1"
)

const (
	// attemptTime is how long one attempt may take, and shortTime where there is another server to ask.
	attemptTime, shortTime = 5 * time.Second, 2 * time.Second
	// firstWait bounds the first wait between two attempts; it doubles with each.
	firstWait = 200 * time.Millisecond
	// longestWait bounds every wait that the service does not ask for.
	longestWait = 10 * time.Second
)

// owner is the key of the trailing metadata in which a standby says where the owner is.
const owner = "gossipcontrol-owner"

// Client reports over one connection to each server. It is safe for concurrent use.
type Client struct {
	servers []server
	// current is the number of the server to ask next.
	current atomic.Int64
}

type server struct {
	address    string
	connection *grpc.ClientConn
	service    pb.GossipControlClient
}

// New returns a client of the service at address: 127.0.0.1:7420 for one on this machine, or tls:hub.example.org:7443
// for a hub, which is reached over TLS with the credentials of the environment. Replicas are listed with commas, all
// with tls: or all without; the one that serves is found. It connects with the first report.
func New(address string) (*Client, error) {
	listed := strings.Split(address, ",")
	hubs := make([]string, 0, len(listed))
	for _, one := range listed {
		if where, isHub := strings.CutPrefix(strings.TrimSpace(one), "tls:"); isHub {
			hubs = append(hubs, where)
		}
	}
	switch len(hubs) {
	case 0:
		return connect(listed, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	case len(listed):
		return NewTLS(strings.Join(hubs, ","), CredentialsFromEnvironment())
	default:
		return nil, fmt.Errorf("%s: all addresses, or none, are with tls:", address)
	}
}

// NewTLS returns a client of the hub at address, for example hub.example.org:7443, or of several with commas.
func NewTLS(address string, shown Credentials) (*Client, error) {
	options, err := shown.options()
	if err != nil {
		return nil, err
	}
	return connect(strings.Split(address, ","), options...)
}

func connect(addresses []string, options ...grpc.DialOption) (*Client, error) {
	client := &Client{}
	for _, one := range addresses {
		address := strings.TrimSpace(one)
		connection, err := grpc.NewClient(address, options...)
		if err != nil {
			client.Close()
			return nil, err
		}
		client.servers = append(client.servers, server{address, connection, pb.NewGossipControlClient(connection)})
	}
	return client, nil
}

// Close ends the connections.
func (c *Client) Close() error {
	var errs []error
	for _, one := range c.servers {
		errs = append(errs, one.connection.Close())
	}
	return errors.Join(errs...)
}

// Report says that something happened just now to the device on which the nodes run. It tries until the context ends:
// with the same request id, so that the service decides once; with the age of the change, so that a late report is
// known to be late. An error that another attempt cannot mend is returned at once; at the deadline the last one that
// the deadline did not cause, if there was one.
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
	var reason error
	for attempt, asked := 0, 1; ; asked++ {
		request.AgeMs = uint64(time.Since(happened).Milliseconds())
		number := c.current.Load()
		end, isLimited := ctx.Deadline()
		isLimited = isLimited && time.Until(end) < c.attemptTime()
		response, trailer, err := c.try(ctx, c.servers[number], request)
		if err == nil {
			return response.GetDecisions(), nil
		}
		if !retryable(err) || ctx.Err() == context.Canceled {
			return nil, err
		}
		if isCut := isLimited && status.Code(err) == codes.DeadlineExceeded; reason == nil || !isCut {
			reason = err
		}
		if ctx.Err() != nil {
			return nil, reason
		}
		if isElsewhere(err) {
			c.current.CompareAndSwap(number, c.next(number, trailer))
			if asked%len(c.servers) != 0 {
				continue // another server may serve
			}
		}
		select {
		case <-time.After(wait(attempt, err)):
		case <-ctx.Done():
			return nil, reason
		}
		attempt++
	}
}

// next is the server that a standby named, if it is one of the client's: no other address is believed. Else it is the
// the one after it.
func (c *Client) next(number int64, trailer metadata.MD) int64 {
	for _, named := range trailer.Get(owner) {
		for other := range c.servers {
			if c.servers[other].address == named && int64(other) != number {
				return int64(other)
			}
		}
	}
	return (number + 1) % int64(len(c.servers))
}

func (c *Client) try(
	ctx context.Context, asked server, request *pb.ReportNetworkChangeRequest,
) (*pb.ReportNetworkChangeResponse, metadata.MD, error) {
	ctx, cancel := context.WithTimeout(ctx, c.attemptTime())
	defer cancel()
	var trailer metadata.MD
	response, err := asked.service.ReportNetworkChange(ctx, request, grpc.Trailer(&trailer))
	return response, trailer, err
}

func (c *Client) attemptTime() time.Duration {
	if len(c.servers) > 1 {
		return shortTime
	}
	return attemptTime
}

// isElsewhere says whether another server may do better.
func isElsewhere(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled: // a server that stops cancels its calls
		return true
	default:
		return false
	}
}

func retryable(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Aborted, codes.Canceled:
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
