variable "region" {
  type        = string
  description = "Region, such as eu-west-101 or eu-de. It is also the name of its project."
}

variable "name" {
  type        = string
  default     = "tagger"
  description = "Prefix of all resources' names."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.name))
    error_message = "Want small letters, digits and hyphens, 31 at most, with a letter first."
  }
}

variable "archives" {
  type        = string
  default     = "../../dist"
  description = "Directory with the functions' archives (from make build or a release)."
}

variable "architecture" {
  type        = string
  default     = "amd64"
  description = "Architecture of the functions: amd64 or arm64."

  validation {
    condition     = contains(["amd64", "arm64"], var.architecture)
    error_message = "Want amd64 or arm64."
  }
}

variable "functions" {
  type        = set(string)
  default     = ["server-created", "server-changed", "volume-created", "volume-changed", "snapshot-created"]
  description = "Functions to create. Leave out those without rules."

  validation {
    condition = alltrue([
      for f in var.functions :
      contains(["server-created", "server-changed", "volume-created", "volume-changed", "snapshot-created"], f)
    ])
    error_message = "The functions are {server,volume}-created, {server,volume}-changed and snapshot-created."
  }
}

variable "reconcile" {
  type = object({
    schedule = string
    rules    = optional(string, "")
  })
  default     = null
  description = "Scheduled reconcile: schedule is an interval such as 3h (a TIMER trigger), rules the hash of the reviewed rules. Without the hash, nothing is written."

  validation {
    condition     = var.reconcile == null ? true : can(regex("^[1-9][0-9]*[mhd]$", var.reconcile.schedule))
    error_message = "Want a schedule such as 30m, 3h or 1d."
  }
}

variable "rules" {
  type        = string
  description = "The tagging rules (file(\"rules.yaml\")). Together with the other settings, they are limited to 4 KB."
}

variable "settings" {
  type        = map(string)
  default     = {}
  description = "Other TAGGER_ settings of docs/configuration.md."
}

variable "secrets" {
  type        = map(string)
  default     = {}
  sensitive   = true
  description = "HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, instead of the agency. FunctionGraph encrypts them; Terraform's state has them in plain text."
}

variable "cloud_domain" {
  type        = string
  default     = "myhuaweicloud.com"
  description = "The domain of the APIs: myhuaweicloud.com, myhuaweicloud.eu, or otc.t-systems.com on Open Telekom Cloud."
}

variable "event_source" {
  type        = string
  default     = "cts"
  description = "Source of events: cts (a trigger on traces) or eventgrid (a subscription, which can keep dead letters)."

  validation {
    condition     = contains(["cts", "eventgrid"], var.event_source)
    error_message = "Want cts or eventgrid."
  }
}

variable "dead_letters" {
  type = object({
    instance_id   = string
    connection_id = string
    topic         = string
  })
  default     = null
  description = "With eventgrid: a Kafka instance, EventGrid's connection to it and a topic, for undeliverable events."
}

variable "alarm_emails" {
  type        = set(string)
  default     = []
  description = "Addresses that receive failed invocations and the log's alarms. Each must confirm once."
}

variable "log_days" {
  type        = number
  default     = 30
  description = "Retention of the log, in days."
}

variable "vpc" {
  type = object({
    vpc_id     = string
    network_id = string
    agency     = string
  })
  default     = null
  description = "VPC and subnet to run in, and the agency that lets FunctionGraph use them (VPC Administrator)."
}

variable "extra_actions" {
  type        = list(string)
  default     = []
  description = "Additional permissions of the code. Rules that remove keys of snapshots or volumes need evs:snapshots:delete or evs:volumes:delete."
}
