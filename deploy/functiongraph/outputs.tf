output "function_urns" {
  description = "The functions, to invoke them directly."
  value       = { for name, f in huaweicloud_fgs_function.function : name => f.urn }
}

output "log_group_id" {
  description = "The group of the functions' logs."
  value       = huaweicloud_lts_group.tagger.id
}

output "alarm_topic_urn" {
  description = "The topic that receives failed invocations and the log's alarms."
  value       = huaweicloud_smn_topic.alarms.topic_urn
}
