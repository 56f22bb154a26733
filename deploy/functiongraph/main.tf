locals {
  # The traces that each function handles (docs/events.md).
  operations = {
    server-created = [
      "ECS:ecs:createServer;createServerV2;createServerV21;createSingleServer",
      "BMS:bms:createBareMetalServers",
    ]
    snapshot-created = ["EVS:evs:createSnapshot"]
    volume-created   = ["EVS:evs:createVolume;batchCreateVolume"]
    volume-changed   = ["ECS:ecs:attachVolume;attachVolumeV2;attachVolume2", "EVS:evs:extendVolume"]
    server-changed = [
      "ECS:ecs:startServer;stopServer;resizeServer",
      "BMS:bms:startBareMetalServers;stopBareMetalServers",
    ]
  }
  sources = {
    server-created   = ["ECS", "BMS"]
    snapshot-created = ["EVS"]
    volume-created   = ["EVS"]
    volume-changed   = ["ECS", "EVS"]
    server-changed   = ["ECS", "BMS"]
  }
  traces = {
    for name, list in local.operations : name => flatten([for o in list : split(";", split(":", o)[2])])
  }
  execution = jsondecode(file("${path.module}/execution-policy.json"))
  # The functions that events trigger, and the one that a timer does.
  functions = setunion(var.functions, var.reconcile == null ? [] : ["reconcile"])
  # What lists take (permission page of ECS, "Querying details about ECSs (native OpenStack API)", with its dependencies;
  # those of EVS).
  listing = [
    "ecs:servers:list", "ecs:serverVolumes:use", "ecs:diskConfigs:use", "ecs:securityGroups:use",
    "ecs:serverKeypairs:get", "vpc:securityGroups:get", "vpc:securityGroupRules:get", "vpc:networks:get",
    "vpc:subnets:get", "vpc:ports:get", "vpc:routers:get", "evs:volumes:list", "evs:snapshots:list",
  ]
  with_agency = !contains(nonsensitive(keys(var.secrets)), "HUAWEICLOUD_SDK_AK")

  settings = merge({
    TAGGER_API                    = "huaweicloud"
    TAGGER_RULES                  = var.rules
    TAGGER_COMPUTE_ENDPOINT       = "https://ecs.${var.region}.${var.cloud_domain}/v2.1/{project_id}"
    TAGGER_VOLUME_ENDPOINT        = "https://evs.${var.region}.${var.cloud_domain}/v2/{project_id}"
    TAGGER_INVOCATION_CREDENTIALS = tostring(local.with_agency)
    OS_REGION_NAME                = var.region
  }, var.settings)
}

# What the code may do: nothing but the operations that it makes.
resource "huaweicloud_identity_role" "execution" {
  count = local.with_agency ? 1 : 0

  name        = "${var.name}-execution"
  description = "Metadata of servers, volumes and snapshots"
  type        = "XA"
  policy = jsonencode({
    Version = local.execution.Version
    Statement = [{
      Effect = "Allow"
      Action = concat(
        local.execution.Statement[0].Action, var.reconcile == null ? [] : local.listing, var.extra_actions
      )
    }]
  })
}

resource "huaweicloud_identity_agency" "execution" {
  count = local.with_agency ? 1 : 0

  name                  = "${var.name}-execution"
  description           = "Agency of Tagger's functions"
  delegated_domain_name = "op_svc_cff"

  project_role {
    project = var.region
    roles   = [huaweicloud_identity_role.execution[0].name]
  }
}

resource "huaweicloud_lts_group" "tagger" {
  group_name  = var.name
  ttl_in_days = var.log_days
}

resource "huaweicloud_lts_stream" "function" {
  for_each = local.functions

  group_id    = huaweicloud_lts_group.tagger.id
  stream_name = "${var.name}-${each.key}"
  ttl_in_days = var.log_days
}

resource "huaweicloud_fgs_function" "function" {
  for_each = local.functions

  name                  = "${var.name}-${each.key}"
  description           = "Tagger: ${each.key}"
  app                   = "default"
  functiongraph_version = "v2"
  runtime               = "Custom"
  handler               = "bootstrap"
  code_type             = "zip"
  code_filename         = "${each.key}-${var.architecture}.zip"
  func_code             = filebase64("${var.archives}/${each.key}-${var.architecture}.zip")
  memory_size           = 256
  # Triggers try again three times at most, so a function waits inside the invocation until the server is ready.
  timeout = 900
  # One process writes to a server: two that do can undo each other's keys.
  max_instance_num = "1"

  user_data = jsonencode(merge(
    local.settings, each.key == "reconcile" ? { TAGGER_RECONCILE_RULES = var.reconcile.rules } : {}
  ))
  encrypted_user_data = length(nonsensitive(keys(var.secrets))) > 0 ? jsonencode(var.secrets) : null

  agency     = var.vpc == null ? null : var.vpc.agency
  app_agency = local.with_agency ? huaweicloud_identity_agency.execution[0].name : null
  vpc_id     = var.vpc == null ? null : var.vpc.vpc_id
  network_id = var.vpc == null ? null : var.vpc.network_id

  enable_lts_log  = true
  log_group_id    = huaweicloud_lts_group.tagger.id
  log_group_name  = huaweicloud_lts_group.tagger.group_name
  log_stream_id   = huaweicloud_lts_stream.function[each.key].id
  log_stream_name = huaweicloud_lts_stream.function[each.key].stream_name
}

# The topic gets each event that fails in spite of its retries.
resource "huaweicloud_fgs_async_invoke_configuration" "function" {
  for_each = var.functions

  function_urn                   = huaweicloud_fgs_function.function[each.key].urn
  max_async_event_age_in_seconds = 86400
  max_async_retry_attempts       = 3
  enable_async_status_log        = true

  on_failure {
    destination = "SMN"
    param       = jsonencode({ topic_urn = huaweicloud_smn_topic.alarms.topic_urn })
  }
}

# CTS, if it is the source. FunctionGraph must be authorised for CTS once, in its console.
resource "huaweicloud_fgs_function_trigger" "cts" {
  for_each = var.event_source == "cts" ? var.functions : []

  function_urn = huaweicloud_fgs_function.function[each.key].urn
  type         = "CTS"
  event_data = jsonencode({
    name       = replace("${var.name}_${each.key}", "-", "_")
    operations = local.operations[each.key]
  })
}

# The timer of the function that finds what no event has tagged. What a pass leaves, the next one finds.
resource "huaweicloud_fgs_function_trigger" "timer" {
  count = var.reconcile == null ? 0 : 1

  function_urn = huaweicloud_fgs_function.function["reconcile"].urn
  type         = "TIMER"
  event_data = jsonencode({
    name          = replace("${var.name}_reconcile", "-", "_")
    schedule_type = "Rate"
    schedule      = var.reconcile.schedule
  })
}

# EventGrid, if it is the source.
data "huaweicloud_eg_event_channels" "official" {
  count = var.event_source == "eventgrid" ? 1 : 0

  provider_type = "OFFICIAL"
  name          = "default"
}

resource "huaweicloud_eg_event_subscription" "function" {
  for_each = var.event_source == "eventgrid" ? var.functions : []

  channel_id  = data.huaweicloud_eg_event_channels.official[0].channels[0].id
  name        = "${var.name}-${each.key}"
  description = "Traces for Tagger: ${each.key}"

  dynamic "sources" {
    for_each = local.sources[each.key]

    content {
      id            = uuidv5("url", "https://github.com/cloudtagger/tagger/${var.name}/${each.key}/${sources.value}")
      provider_type = "OFFICIAL"
      name          = "HC.${sources.value}"
      detail_name   = "detail"
      filter_rule = jsonencode({
        source = [{ op = "StringIn", values = ["HC.${sources.value}"] }]
        type = [{
          op = "StringIn"
          values = [
            for kind in ["ApiCall", "ConsoleAction", "SystemAction"] : "${sources.value}:CloudTrace:${kind}"
          ]
        }]
        data = { trace_name = [{ op = "StringIn", values = local.traces[each.key] }] }
      })
    }
  }

  targets {
    id            = uuidv5("url", "https://github.com/cloudtagger/tagger/${var.name}/${each.key}/target")
    provider_type = "OFFICIAL"
    name          = "HC.FunctionGraph"
    detail_name   = "detail"
    detail = jsonencode({
      urn         = huaweicloud_fgs_function.function[each.key].urn
      invoke_type = "ASYNC"
      agency_name = "EG_TARGET_AGENCY"
    })
    transform = jsonencode({ type = "ORIGINAL", value = "" })
    dead_letter_queue = var.dead_letters == null ? null : jsonencode({
      type          = "KAFKA"
      instance_id   = var.dead_letters.instance_id
      connection_id = var.dead_letters.connection_id
      topic         = var.dead_letters.topic
    })
  }
}

resource "huaweicloud_smn_topic" "alarms" {
  name         = "${var.name}-alarms"
  display_name = "Tagger"
}

resource "huaweicloud_smn_subscription" "email" {
  for_each = var.alarm_emails

  topic_urn = huaweicloud_smn_topic.alarms.id
  endpoint  = each.value
  protocol  = "email"
}

# One line in five minutes that an operator must look at.
resource "huaweicloud_lts_keywords_alarm_rule" "attention" {
  for_each = merge(
    {
      for pair in setproduct(var.functions, ["rejected", "blocked", "unrecognised"]) :
      "${pair[0]}_${pair[1]}" => { function = pair[0], words = "\"outcome\":\"${pair[1]}\"" }
    },
    {
      for outcome in var.reconcile == null ? [] : ["capped", "stopped", "incomplete", "out_of_time", "failed"] :
      "reconcile_${outcome}" => { function = "reconcile", words = "\"msg\":\"reconcile ${outcome}\"" }
    },
  )

  name               = replace("${var.name}_${each.key}", "-", "_")
  description        = "Lines with ${each.value.words}"
  alarm_level        = "MAJOR"
  send_notifications = length(var.alarm_emails) > 0

  keywords_requests {
    keywords               = each.value.words
    condition              = ">="
    number                 = 1
    log_group_id           = huaweicloud_lts_group.tagger.id
    log_stream_id          = huaweicloud_lts_stream.function[each.value.function].id
    search_time_range_unit = "minute"
    search_time_range      = 5
  }

  frequency {
    type            = "FIXED_RATE"
    fixed_rate_unit = "minute"
    fixed_rate      = 5
  }

  dynamic "notification_save_rule" {
    for_each = length(var.alarm_emails) > 0 ? [1] : []

    content {
      template_name = "keywords_template"
      language      = "en-us"
      user_name     = var.name

      topics {
        name      = huaweicloud_smn_topic.alarms.name
        topic_urn = huaweicloud_smn_topic.alarms.topic_urn
      }
    }
  }
}
