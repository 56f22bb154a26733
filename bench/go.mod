module github.com/cloudtagger/tagger/bench

go 1.26.0

require (
	github.com/aws/aws-lambda-go v1.55.1
	github.com/cloudtagger/tagger v0.0.0
	github.com/rabbitmq/amqp091-go v1.16.0
)

replace github.com/cloudtagger/tagger => ../
