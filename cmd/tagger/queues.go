package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/cloudtagger/tagger/pkg/config"
	"github.com/cloudtagger/tagger/pkg/lifecycle"
	"github.com/cloudtagger/tagger/pkg/listen"
	"github.com/cloudtagger/tagger/pkg/tagger"
	"github.com/cloudtagger/tagger/pkg/visible"
)

func queuesCommand(s streams) *cobra.Command {
	return oneOf(&cobra.Command{
		Use:   "queues",
		Short: "Show, replay, drop and move the listener's messages; watch events",
		Long: "Look after the queues of tagger listen, at the broker of TAGGER_AMQP_URL. Their names begin with " +
			"TAGGER_AMQP_QUEUE (tagger). " +
			"None of these commands creates a queue that stays. They work while listeners run, except move and delete.",
	}, queuesListCommand(s), queuesShowCommand(s), queuesReplayCommand(s), queuesDropCommand(s), queuesMoveCommand(s),
		queuesDeleteCommand(s), queuesTapCommand(s))
}

// withQueues connects to the broker, runs f and disconnects. What f fails at leaves something undone.
func withQueues(ctx context.Context, f func(*listen.Queues) error) error {
	c, err := config.ListenFromEnv()
	if err != nil {
		return err
	}
	q, err := listen.OpenQueues(ctx, c)
	if err != nil {
		return undone{err}
	}
	defer q.Close()
	if err := f(q); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx) // the connection was cut, and each error would say only that
		}
		if _, told := errors.AsType[undone](err); told {
			return err
		}
		return undone{err}
	}
	return nil
}

func queuesListCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "Show the queues, and how many messages are in each",
		Long: "Show the queues that exist, the messages in them that no listener has taken, and how many listeners take or " +
			"stand by.",
		Args: noArguments,
	}
	out := outputFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withQueues(cmd.Context(), func(q *listen.Queues) error {
			all, err := q.List()
			if err != nil {
				return err
			}
			if len(all) == 0 {
				fmt.Fprintln(s.err, "tagger: there are none of these queues; tagger listen creates them")
			}
			if len(all) > 0 && *out == asText {
				fmt.Fprintf(s.out, "%-24s %8s %9s\n", "queue", "messages", "listeners")
			}
			for _, each := range all {
				if *out == asJSON {
					if err := printJSON(s.out, each); err != nil {
						return err
					}
					continue
				}
				fmt.Fprintf(s.out, "%-24s %8d %9d\n", printable(each.Name), each.Messages, each.Consumers)
			}
			return nil
		})
	}
	return cmd
}

// rejectedView is a rejected message as JSON.
type rejectedView struct {
	ID         string `json:"id"`
	Action     string `json:"action,omitempty"`
	Kind       string `json:"kind,omitempty"`
	ResourceID string `json:"resource_id,omitempty"`
	Name       string `json:"name,omitempty"`
	Project    string `json:"project,omitempty"`
	Outcome    string `json:"outcome"`
	Reason     string `json:"reason"`
	// RejectedAt is null where the message does not say.
	RejectedAt *time.Time    `json:"rejected_at"`
	Exchange   string        `json:"exchange"`
	RoutingKey string        `json:"routing_key"`
	Events     []event.Event `json:"events,omitempty"`
}

func viewRejected(r listen.Rejected, registry *lifecycle.Registry, events bool) rejectedView {
	v := rejectedView{
		ID: r.ID, Outcome: string(r.Outcome), Reason: r.Reason, Exchange: r.Exchange, RoutingKey: r.RoutingKey,
	}
	if !r.RejectedAt.IsZero() {
		v.RejectedAt = &r.RejectedAt
	}
	if events {
		v.Events = r.Events
	}
	for _, e := range r.Events {
		reading, err := registry.Read(e)
		if err != nil || len(reading.Changes) == 0 {
			continue
		}
		c := reading.Changes[0]
		v.Action, v.Kind, v.ResourceID, v.Name, v.Project = string(c.Action), string(c.Resource.Kind), c.Resource.ID,
			c.Resource.Name, c.Resource.Project
		break
	}
	return v
}

func (v rejectedView) print(s streams) {
	at := "at an unknown time  "
	if v.RejectedAt != nil {
		at = v.RejectedAt.UTC().Format(time.RFC3339)
	}
	what := "(no change that can be read)"
	if v.Action != "" {
		what = fmt.Sprintf("%s  %s %s", v.Action, v.Kind, v.ResourceID)
		if v.Name != "" {
			what += fmt.Sprintf(" %q", v.Name)
		}
	}
	id := v.ID
	if id == "" {
		id = "(none)"
	}
	for _, line := range []string{at + "  " + what, "  id      " + id, "  reason  " + v.Reason} {
		fmt.Fprintln(s.out, visible.Line(line[:2], 2)+printable(line[2:]))
	}
}

func idsFlag(flags *pflag.FlagSet, help string) *[]string {
	var ids []string
	flags.StringArrayVar(&ids, "id", nil, help)
	return &ids
}

// dialects reads events as the settings say.
func dialects() (*lifecycle.Registry, error) {
	settings, err := config.SettingsFromEnv()
	if err != nil {
		return nil, err
	}
	return tagger.Dialects(settings, os.Getenv("OS_REGION_NAME"))
}

func queuesShowCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show", Short: "Show the rejected messages: what they are about, why and when they were rejected",
		Long: "Show the rejected messages, the oldest first. They stay in their queue.",
		Args: noArguments,
	}
	out := outputFlag(cmd.Flags())
	limit := cmd.Flags().Int("limit", 1000, "how many to show")
	events := cmd.Flags().Bool("events", false, "with -o json: the events too, as tagger plan takes them")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case *limit < 0:
			return fmt.Errorf("queues show: --limit %d: want 0 or more", *limit)
		case *events && *out != asJSON:
			return errors.New("queues show: --events needs -o json")
		}
		registry, err := dialects()
		if err != nil {
			return err
		}
		return withQueues(cmd.Context(), func(q *listen.Queues) error {
			shown, more := 0, false
			err := q.Rejected(cmd.Context(), func(r listen.Rejected) bool {
				if more = shown >= *limit; more {
					return false
				}
				shown++
				v := viewRejected(r, registry, *events)
				if *out == asJSON {
					return printJSON(s.out, v) == nil
				}
				v.print(s)
				return true
			})
			if err != nil {
				return err
			}
			switch {
			case more:
				fmt.Fprintf(s.err, "tagger: there are more than %d; --limit shows more\n", shown)
			case shown == 0 && *out == asText:
				fmt.Fprintln(s.out, "no message is rejected")
			}
			return nil
		})
	}
	return cmd
}

func queuesReplayCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "replay", Short: "Put rejected messages back into the main queue",
		Long: "Put the rejected messages that are there now back into the main queue, all of them or those with the named " +
			"ids. They are tried " +
			"anew, for all of TAGGER_GIVE_UP_AFTER. What a running listener rejects again meanwhile stays among the rejected.",
		Args: noArguments,
	}
	ids := idsFlag(cmd.Flags(),
		"only the message with this event id, as tagger queues show has it; may be given several times")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withQueues(cmd.Context(), func(q *listen.Queues) error {
			n, err := q.Replay(cmd.Context(), *ids)
			if err == nil || n > 0 {
				fmt.Fprintf(s.out, "put %s back\n", plural(n, "message"))
			}
			return noneOf(*ids, n, err)
		})
	}
	return cmd
}

// noneOf is an error where ids were named and no message had one of them.
func noneOf(ids []string, n int, err error) error {
	if err == nil && len(ids) > 0 && n == 0 {
		return fmt.Errorf("no rejected message has the id %s; tagger queues show lists them",
			visible.Line(strings.Join(ids, ", "), maxComplaint))
	}
	return err
}

func queuesDropCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "drop --id ID | --all", Short: "Drop rejected messages",
		Long: "Throw rejected messages away: those with the named ids, or all that are there now. Asks first, on a " +
			"terminal; elsewhere it " +
			"needs --yes.",
		Args: noArguments,
	}
	ids := idsFlag(cmd.Flags(), "the message with this event id, as tagger queues show has it; may be given several times")
	all := cmd.Flags().Bool("all", false, "all rejected messages")
	yes := yesFlag(cmd.Flags())
	cmd.MarkFlagsMutuallyExclusive("id", "all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if len(*ids) == 0 && !*all {
			return errors.New("queues drop: say which: --id ID (see tagger queues show), or --all")
		}
		what := "the rejected messages with these ids: " + visible.Line(strings.Join(*ids, ", "), maxComplaint)
		return withQueues(cmd.Context(), func(q *listen.Queues) error {
			if *all {
				states, err := q.List()
				if err != nil {
					return err
				}
				n := 0
				if len(states) > 0 {
					n = states[len(states)-1].Messages
				}
				what = "all rejected messages, " + fmt.Sprint(n) + " now"
			}
			if err := confirm(cmd.Context(), s, *yes, "This throws away "+what+"."); err != nil {
				return err
			}
			n, err := q.Drop(cmd.Context(), *ids)
			if err == nil || n > 0 {
				fmt.Fprintf(s.out, "dropped %s\n", plural(n, "message"))
			}
			return noneOf(*ids, n, err)
		})
	}
	return cmd
}

func queuesMoveCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use: "move FROM TO", Short: "Move all messages to the queues of another name",
		Long: "Move the messages of all queues of one name (a TAGGER_AMQP_QUEUE) to those of another, which a listener has " +
			"created: to leave " +
			"queues that an older version made, whose arguments cannot be changed. A message is taken off its queue when the " +
			"broker " +
			"has confirmed it in the other one. What is there when it begins is moved; no listener may run on FROM, one may " +
			"on TO. " +
			"docs/queues.md has the order of steps in which nothing is lost.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("queues move: name two queues: tagger queues move FROM TO, such as tagger tagger.2")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			return withQueues(cmd.Context(), func(q *listen.Queues) error {
				moved, left := 0, 0
				err := q.Move(cmd.Context(), names[0], names[1], func(m listen.Moved) {
					moved, left = moved+m.Messages, left+m.Left
					if m.Messages > 0 || m.Left > 0 {
						fmt.Fprintf(s.out, "%s → %s: %s\n", printable(m.From), printable(m.To), plural(m.Messages, "message"))
					}
				})
				if err == nil || moved > 0 {
					fmt.Fprintf(s.out, "moved %s", plural(moved, "message"))
					if left > 0 {
						fmt.Fprintf(s.out, "; %s in the queues of %s now", plural(left, "message"), printable(names[0]))
					}
					fmt.Fprintln(s.out)
				}
				return err
			})
		},
	}
}

func queuesDeleteCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete", Short: "Delete all queues, and the messages in them",
		Long: "Delete the queues of TAGGER_AMQP_QUEUE and the messages in them, when no listener runs: to remove Tagger, " +
			"or to let tagger " +
			"listen create them anew. The services' exchanges and queues stay. Asks first, on a terminal; elsewhere it needs " +
			"--yes.",
		Args: noArguments,
	}
	yes := yesFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withQueues(cmd.Context(), func(q *listen.Queues) error {
			all, err := q.List()
			if err != nil {
				return err
			}
			if len(all) == 0 {
				fmt.Fprintln(s.out, "there are none of these queues")
				return nil
			}
			messages := 0
			for _, each := range all {
				messages += each.Messages
			}
			what := fmt.Sprintf("This deletes %s (%s …) with %s in them.", plural(len(all), "queue"), printable(all[0].Name),
				plural(messages, "message"))
			if err := confirm(cmd.Context(), s, *yes, what); err != nil {
				return err
			}
			return q.Delete(cmd.Context(), func(deleted listen.QueueState) {
				fmt.Fprintf(s.out, "deleted queue %-20s %s\n", printable(deleted.Name), plural(deleted.Messages, "message"))
			})
		})
	}
	return cmd
}

func yesFlag(flags *pflag.FlagSet) *bool { return flags.Bool("yes", false, "do not ask") }

// confirm asks on a terminal whether to go on. Elsewhere it wants yes.
func confirm(ctx context.Context, s streams, yes bool, what string) error {
	if yes {
		return nil
	}
	f, ok := s.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return fmt.Errorf("%s Nothing was done: no terminal; confirm with --yes", what)
	}
	fmt.Fprintf(s.err, "%s Go on? [y/N] ", what)
	answer, _ := bufio.NewReader(interruptible{ctx, f}).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}
