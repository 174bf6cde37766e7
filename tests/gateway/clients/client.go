// The client of Go's net/http, with its defaults.
package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strings"
)

func do(method, path, body string) *http.Response {
	request, err := http.NewRequest(method, os.Args[1]+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	return response
}

func main() {
	made := do("POST", "/v1/payments/go", `{"account":"abc","amount":100}`)
	head := do("HEAD", "/v1/payments/go/events", "")
	read := do("GET", "/v1/accounts/abc", "")
	gone := do("POST", "/v1/payments/go/cancel", "")
	events := do("GET", "/v1/payments/go/events", "")
	first, err := bufio.NewReader(events.Body).ReadString('\n')
	if err != nil {
		panic(err)
	}
	fmt.Print(made.StatusCode, " ", head.StatusCode, " ", read.StatusCode, " ", gone.StatusCode, " ", first)
}
