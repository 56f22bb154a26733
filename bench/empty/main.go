// Command empty is a function that does nothing. It shows the cost of Go and the Lambda library.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(context.Context) error { return nil })
}
