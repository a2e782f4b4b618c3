package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

type membersCommand struct {
	List   membersListCommand   `cmd:"" default:"1" help:"List the nodes of the cluster."`
	Remove membersRemoveCommand `cmd:"" help:"Take a node that is gone for good off the roster."`
}

type membersListCommand struct{}

// Help is what `weir members -h` adds to the flags.
func (membersCommand) Help() string {
	return `Examples:

    weir members
    weir members remove n3`
}

// Help is what `weir members list -h` adds to the flags.
func (membersListCommand) Help() string {
	return `Examples:

    weir members
    weir members list --addr 10.0.0.5:8080 -o json

STATE is what the view says: steady, joining, leaving or absent; silent is a node that the view counts on and the
asked node does not see. HOMES and DEPUTY count the partitions, of 4096, that a node decides for or would take over,
COMING those that are being moved to it. LEASE is how long it may still decide: a node knows its own, the leader all.`
}

// roster is the view without its table.
type roster struct {
	Cluster       string `json:"cluster"`
	Epoch         uint64 `json:"epoch"`
	Leader        string `json:"leader"`
	Node          string `json:"node"` // that answered
	PolicyVersion uint64 `json:"policy_version"`
	Members       []row  `json:"members"`
}

// row is a member and its part in the table.
type row struct {
	client.Member
	State  string `json:"state"`
	Leader bool   `json:"leader"`
	Homes  int    `json:"homes"`
	Deputy int    `json:"deputy"`
}

// Run prints the roster of the view that the asked node has.
func (membersListCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	v, err := weir.View(ctx)
	if err != nil {
		return fmt.Errorf("no view: %w", err)
	}
	r := roster{v.Cluster, v.Epoch, v.Leader, v.Node, v.PolicyVersion, make([]row, len(v.Members))}
	homes, deputies := owned(v.Homes, len(v.Members)), owned(v.Deputies, len(v.Members))
	for i, m := range v.Members {
		r.Members[i] = row{m, m.State(), m.Name == v.Leader, homes[i], deputies[i]}
	}
	return show(s, r, rosterText)
}

func rosterText(w io.Writer, r roster) {
	fmt.Fprintf(w, "cluster %s, epoch %d, leader %s, policy %d\n", r.Cluster, r.Epoch, orDash(r.Leader), r.PolicyVersion)
	fmt.Fprintln(w, "NAME\tSTATE\tALIVE\tVOTER\tZONE\tWEIGHT\tHOMES\tDEPUTY\tCOMING\tLEASE\tEPOCH\tVERSION\tHTTP\tGRPC\tPEER")
	for _, m := range r.Members {
		voter, lease := yesNo(m.Voter), "-"
		if m.Leader {
			voter = "leader"
		}
		if m.LeaseLeftMS != nil {
			lease = milliseconds(*m.LeaseLeftMS)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%d\t%s\t%s\t%s\t%s\n", m.Name, m.State, yesNo(m.Alive), voter, orDash(m.Zone),
			m.Weight, m.Homes, m.Deputy, m.Arriving, lease, m.Epoch, orDash(m.Version), orDash(m.HTTP), orDash(m.GRPC), orDash(m.Peer))
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

type membersRemoveCommand struct {
	Name string `arg:"" help:"The name of the node."`
}

// Help is what `weir members remove -h` adds to the flags.
func (membersRemoveCommand) Help() string {
	return `Examples:

    weir members remove n3

A node that stops stays on the roster as absent, since it may come back: the others leave it its share of a limit when
they must decide alone, and its vote is kept for a while. Remove it once it is gone for good. A node that runs is not
removed: stop it first. One that was removed joins as a new one when it is started again.`
}

type removed struct {
	Removed string `json:"removed"`
}

// Run removes the member.
func (c *membersRemoveCommand) Run(ctx context.Context, s *shell) error {
	weir, err := s.client()
	if err != nil {
		return err
	}
	err = weir.RemoveMember(ctx, c.Name)
	p := new(rest.Problem)
	switch refused := errors.As(err, &p); {
	case err == nil:
		return show(s, removed{c.Name}, func(w io.Writer, r removed) {
			fmt.Fprintf(w, "%s is off the roster\n", r.Removed)
		})
	case refused && p.Status == http.StatusNotFound:
		return fmt.Errorf("nothing to remove: %w", err)
	case refused && p.Status < http.StatusInternalServerError || errors.Is(err, client.ErrUnreachable):
		return fmt.Errorf("not removed: %w", err)
	default:
		return fmt.Errorf("perhaps removed: %w; `weir members` tells, and it may be repeated", err)
	}
}
