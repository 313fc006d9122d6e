// A Centrifuge node over its own handler of Server-Sent Events, with channels from tokens. Usage: centrifuge PORT, the key in CENTRIFUGE_KEY.
//
// It keeps no history, and writes no log, nor pings. POST /publish/CHANNEL publishes the body.
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/centrifugal/centrifuge"
	"github.com/golang-jwt/jwt/v5"
)

type claims struct {
	jwt.RegisteredClaims
	Channels []string `json:"channels"`
}

func main() {
	key := []byte(os.Getenv("CENTRIFUGE_KEY"))
	node, err := centrifuge.New(centrifuge.Config{LogLevel: centrifuge.LogLevelNone})
	if err != nil {
		log.Fatal(err)
	}
	verify := func(*jwt.Token) (any, error) { return key, nil }
	node.OnConnecting(func(_ context.Context, event centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		var claims claims
		if _, err := jwt.ParseWithClaims(event.Token, &claims, verify, jwt.WithValidMethods([]string{"HS256"})); err != nil {
			return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
		}
		subscriptions := map[string]centrifuge.SubscribeOptions{}
		for _, channel := range claims.Channels {
			subscriptions[channel] = centrifuge.SubscribeOptions{}
		}
		credentials := &centrifuge.Credentials{UserID: claims.Subject, ExpireAt: claims.ExpiresAt.Unix()}
		return centrifuge.ConnectReply{Credentials: credentials, Subscriptions: subscriptions}, nil
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	silent := centrifuge.PingPongConfig{PingInterval: -1, PongTimeout: -1}
	http.Handle("GET /connection/sse", centrifuge.NewSSEHandler(node, centrifuge.SSEConfig{PingPongConfig: silent}))
	http.HandleFunc("POST /publish/{channel}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = node.Publish(r.PathValue("channel"), body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
