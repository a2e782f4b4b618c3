package main

import (
	"context"
	"fmt"
	"io"

	"github.com/weir-cluster/weir/client"
)

type membersCommand struct{}

// Help is what `weir members -h` adds to the flags.
func (membersCommand) Help() string {
	return `Examples:

    weir members
    weir members --addr 10.0.0.5:8080 -o json

HOMES and DEPUTY count the partitions, of 4096, that a node decides for or would take over.`
}

// Run prints the roster of the view that the asked node has.
func (membersCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	v, err := weir.View(ctx)
	if err != nil {
		return fmt.Errorf("no view: %w", err)
	}
	return show(s, v, viewText)
}

func viewText(w io.Writer, v client.View) {
	fmt.Fprintf(w, "cluster %s, epoch %d, leader %s, policy %d\n", v.Cluster, v.Epoch, orDash(v.Leader), v.PolicyVersion)
	fmt.Fprintln(w, "NAME\tALIVE\tSTANDING\tVOTER\tHOMES\tDEPUTY\tHTTP\tGRPC\tPEER\tZONE")
	homes, deputies := owned(v.Homes, len(v.Members)), owned(v.Deputies, len(v.Members))
	for i, m := range v.Members {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", m.Name, yesNo(m.Alive), m.Standing, yesNo(m.Voter),
			homes[i], deputies[i], orDash(m.HTTP), orDash(m.GRPC), orDash(m.Peer), orDash(m.Zone))
	}
}

// owned counts the partitions of each member; those of nobody count for nobody.
func owned(owners []uint16, members int) []int {
	n := make([]int, members)
	for _, o := range owners {
		if int(o) < members {
			n[o]++
		}
	}
	return n
}

func yesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}
