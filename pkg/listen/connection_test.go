package listen

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cloudtagger/tagger/pkg/config"
)

// No error contains the password, whatever is wrong with the address or the broker.
func TestNoPasswordInErrors(t *testing.T) {
	settings, err := tlsConfig("")
	if err != nil {
		t.Fatal(err)
	}
	closing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closing.Close()
	go func() { // a broker that does not speak AMQP
		for {
			conn, err := closing.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
			_ = conn.Close()
		}
	}()
	for _, address := range []string{
		"amqp://tagger:hunter2@127.0.0.1:1/", "amqp://tagger:hunter2@" + closing.Addr().String() + "/",
		"amqps://tagger:hunter2@" + closing.Addr().String() + "/",
		"amqp://tagger:hunter2@127.0.0.1:hunter2/", "amqp://tagger:hunter2@[::1/", "http://tagger:hunter2@127.0.0.1/",
		"amqp://tagger:hunter2@127.0.0.1:1/?heartbeat=hunter2",
		"amqp://tagger:%zzhunter2@127.0.0.1/", "amqp://tagger:hun ter2@127.0.0.1/",
	} {
		_, err := dial(t.Context(), config.NewSecret(address), settings)
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "hun ter2") {
			t.Errorf("%s: %v", address, err)
		}
		if h := hostOf(config.NewSecret(address)); strings.Contains(h, "tagger") {
			t.Errorf("%s: shown as %s", address, h)
		}
	}
}

// An address that no broker answers at has an error with the remedy.
func TestUnreachable(t *testing.T) {
	settings, err := tlsConfig("")
	if err != nil {
		t.Fatal(err)
	}
	at := func(answer string) string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = io.ReadFull(conn, make([]byte, 8)) // the protocol header
				_, _ = io.WriteString(conn, answer)
				_ = conn.Close()
			}
		}()
		return "amqp://tagger:hunter2@" + listener.Addr().String() + "/"
	}
	for address, want := range map[string]string{
		"amqp://tagger:hunter2@127.0.0.1:1/":   "nothing answers there: check TAGGER_AMQP_URL",
		at(""):                                 "perhaps it expects TLS (amqps://",
		at("HTTP/1.1 400 Bad Request\r\n\r\n"): "does not speak AMQP: check host and port of TAGGER_AMQP_URL",
	} {
		if _, err := dial(t.Context(), config.NewSecret(address), settings); err == nil ||
			!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Exception") {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
	unknown := &net.DNSError{Err: "no such host", Name: "broker.example.com", IsNotFound: true}
	if err := unreachable(unknown); !errors.Is(err, unknown) || !strings.Contains(err.Error(), "check the name in") {
		t.Error(err)
	}
}

// ending is a handler that calls end when a line is logged.
type ending struct {
	slog.Handler
	end func()
}

func (e ending) Handle(ctx context.Context, r slog.Record) error {
	e.end()
	return e.Handler.Handle(ctx, r)
}

// Run retries while the broker is unreachable, and logs that once.
func TestRunWaitsForTheBroker(t *testing.T) {
	var lines bytes.Buffer
	l := newListener(t, &script{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.log = slog.New(ending{slog.NewJSONHandler(&lines, nil), cancel})
	if err := l.Run(ctx); err != nil {
		t.Error(err)
	}
	if s := lines.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "127.0.0.1:1") {
		t.Errorf("the log is %q", s)
	}
	if strings.Contains(lines.String(), "hunter2") {
		t.Errorf("the password is in the log: %s", lines.String())
	}
	if l.Counts().isConsuming() {
		t.Error("the listener reports that it consumes")
	}
}

// A missing certificate file ends a listener at its start, but not at a reconnection: the file may be in the middle of
// a replacement.
func TestConnectAgainWithoutCertificates(t *testing.T) {
	l := newListener(t, &script{})
	l.options.Config.CACert = filepath.Join(t.TempDir(), "ca.pem")
	var lines bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.log = slog.New(ending{slog.NewJSONHandler(&lines, nil), cancel})
	if _, err := l.connect(ctx, true); err == nil || !strings.Contains(err.Error(), "TAGGER_AMQP_CACERT names: open") {
		t.Errorf("at start: %v", err)
	}
	if conn, err := l.connect(ctx, false); conn != nil || err != nil ||
		!strings.Contains(lines.String(), "TAGGER_AMQP_CACERT names: open") {
		t.Errorf("later: %v: %s", err, lines.String())
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		err     error
		refused bool
	}{
		{amqp.ErrCredentials, true},
		{&amqp.Error{Code: amqp.NotAllowed, Reason: "NOT_ALLOWED - access to vhost 'x' refused for user 'y'"}, true},
		{&amqp.Error{Code: amqp.ConnectionForced}, false},
		{io.EOF, false},
	} {
		if refused(tt.err) != tt.refused {
			t.Errorf("%v", tt.err)
		}
	}
	if err := explain(amqp.ErrCredentials); !refused(err) || !strings.Contains(err.Error(), "TAGGER_AMQP_URL") {
		t.Error(err)
	}
	if err := (&topology{queue: "tagger", exchanges: []string{"nova", "openstack"}}).declareError("tagger",
		&amqp.Error{Code: amqp.AccessRefused, Reason: "no"}); !refused(err) ||
		!strings.Contains(err.Error(), `write '^(tagger(\..*)?|amq\.default)$', read '^(tagger(\..*)?|nova|openstack)$'`) {
		t.Error(err)
	}
	err := (&topology{queue: "tagger"}).declareError("tagger",
		&amqp.Error{Code: amqp.PreconditionFailed, Reason: "inequivalent arg"})
	if _, fatal := errors.AsType[*fatalError](err); !fatal || !strings.Contains(err.Error(), "tagger queues delete") ||
		strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}

// A private certificate authority is trusted only if TAGGER_AMQP_CACERT names it.
func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(nil) // for its certificate
	server.Close()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server.TLS)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).HandshakeContext(t.Context()) // the test needs no more than that
			_ = conn.Close()
		}
	}()
	broker := config.NewSecret("amqps://tagger:hunter2@" + listener.Addr().String() + "/")
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	for _, tt := range []struct {
		caCert  string
		trusted bool
	}{{"", false}, {authority, true}} {
		settings, err := tlsConfig(tt.caCert)
		if err != nil {
			t.Fatal(err)
		}
		_, err = dial(t.Context(), broker, settings)
		if err == nil || strings.Contains(err.Error(), "TAGGER_AMQP_CACERT") == tt.trusted {
			t.Errorf("trusted %t: %v", tt.trusted, err)
		}
	}
}
