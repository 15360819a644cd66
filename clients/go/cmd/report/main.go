// Command report tells GossipControl what happened to this device: report ADDRESS NODE KIND SECONDS.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"gossipcontrol"

	pb "gossipcontrol/v1"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 4 {
		return fmt.Errorf("usage: report ADDRESS NODE changed|resumed|sleeping|foreground SECONDS")
	}
	kind, known := pb.NetworkChangeKind_value["NETWORK_CHANGE_KIND_"+strings.ToUpper(arguments[2])]
	seconds, err := strconv.ParseFloat(arguments[3], 64)
	if !known || err != nil {
		return fmt.Errorf("%s: no kind of change, or %s: no number", arguments[2], arguments[3])
	}
	client, err := gossipcontrol.New(arguments[0])
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds*float64(time.Second)))
	defer cancel()
	decisions, err := client.Report(ctx, pb.NetworkChangeKind(kind), pb.Platform_PLATFORM_LINUX, arguments[1])
	if err != nil {
		return err
	}
	for _, decision := range decisions {
		fmt.Println(decision.GetNodeId(), decision.GetStoreId(), decision.GetKind())
	}
	return nil
}
