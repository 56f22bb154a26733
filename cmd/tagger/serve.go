package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cloudtagger/tagger/pkg/app"
	"github.com/cloudtagger/tagger/pkg/awsapi"
	"github.com/cloudtagger/tagger/pkg/cloud/awssecret"
	"github.com/cloudtagger/tagger/pkg/config"
)

// onAWS lets a container on AWS read its rules from a parameter and its credentials from a secret, with the access key
// of its environment.
func onAWS() app.AWS {
	client := &awsapi.Client{}
	return app.AWS{Secret: awssecret.Opener(client), Parameter: client.Parameter}
}

func serveCommand() *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "serve [--listen ADDR]",
		Short: "Process events that arrive over HTTP",
		Long: "Serve until interrupted: POST a CloudEvent (binary, structured or a batch) or any other payload to any " +
			"path; GET /healthz and " +
			"GET /metrics (Prometheus) are for those who watch. Everything is configured as for the functions, by TAGGER_* " +
			"and OS_* " +
			"variables (or OS_CLOUD). All actions are handled. The answer's status says what became of the events: 204 done, " +
			"503 " +
			"again later (Retry-After), 422 never, 400 malformed, 500 the configuration or the credentials are at fault. The " +
			"header " +
			"fields Tagger-Outcome and Tagger-Reason say it in words; with \"Accept: application/json\" the results are in " +
			"the body.",
		Args: noArguments,
	}
	cmd.Flags().StringVar(&address, "listen", "",
		"address to listen on (default: all interfaces, on the port that PORT names, else 8080)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		listener, err := bind(cmd.Context(), address, cmp.Or(os.Getenv("PORT"), "8080"))
		if err != nil {
			return err
		}
		read := func() (config.Credentials, error) { return processCredentials(cmd.Context()) }
		function := app.Function{Name: "tagger", Credentials: read, AWS: onAWS()}
		if err := app.RunHTTP(cmd.Context(), function, listener); err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	}
	return cmd
}

// bind listens on the address that --listen gives, or else on all interfaces and the port.
func bind(ctx context.Context, address, port string) (net.Listener, error) {
	from := "--listen " + address
	if address == "" {
		address, from = net.JoinHostPort("", port), "PORT="+port
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if op, ok := errors.AsType[*net.OpError](err); ok { // which says the address once more
		err = op.Err
	}
	_, refused := errors.AsType[*os.SyscallError](err)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, undone{fmt.Errorf("%s: the address is in use; choose another", from)}
	case refused:
		return nil, undone{fmt.Errorf("%s: %w", from, err)}
	}
	return nil, fmt.Errorf("%s: %w; --listen wants HOST:PORT, such as 127.0.0.1:8080 or :8080", from, err)
}
