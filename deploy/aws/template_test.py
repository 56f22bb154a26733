"""What becomes of template.yaml: the template that SAM makes of it, resource by resource, and a stack of it in moto.

    make test-template        (needs: pip install aws-sam-translator cfn-lint 'moto[all]')
"""

import ast
import collections
import io
import json
import logging
import os
import pathlib
import re
import tomllib
import unittest
import warnings
import zipfile

import boto3
import moto
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

logging.disable(logging.WARNING)  # of the translator's metrics and features, which are SAM's own

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REGION = "eu-central-1"
ACCOUNT = "123456789012"  # moto's
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:tagger-a1b2c3"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/5d4c3b2a-0000-4000-8000-000000000000"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:"
FUNCTIONS = ["ServerCreated", "SnapshotCreated", "ServerChanged", "VolumeCreated", "VolumeChanged"]

LEAST = {"SecretArn": SECRET, "RulesParameter": "/tagger/rules"}
MOST = LEAST | {
    "SecretKeyArn": KEY,
    "AlarmTopicArn": TOPIC + "alarms",
    "EventBusName": "tagging",
    "EventTopicArn": TOPIC + "events",
    "FunctionUrls": "true",
    "VpcSubnetIds": "subnet-1,subnet-2",
    "VpcSecurityGroupIds": "sg-1",
}


class NoManagedPolicies:
    """The template names no managed policy, so that none need be looked up."""

    def load(self):
        return {}


def transformed(parameters):
    """Returns the template that CloudFormation gets from SAM, as `sam build` and `sam package` would hand it over."""
    os.environ["AWS_DEFAULT_REGION"] = REGION
    template = yaml_parse((ROOT / "template.yaml").read_text())
    template["Globals"]["Function"]["CodeUri"] = "s3://code/function.zip"
    return transform(template, dict(parameters), NoManagedPolicies())


class Template:
    """A transformed template with its parameters and conditions filled in. References to resources become
    "Resource" (Ref) and "Resource.Attribute" (Fn::GetAtt)."""

    NOTHING = object()

    def __init__(self, parameters):
        self.raw = transformed(parameters)
        self.values = {"AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::Partition": "aws"}
        self.values |= {"AWS::URLSuffix": "amazonaws.com", "AWS::StackName": "tagger"}
        for name, p in self.raw["Parameters"].items():
            value = parameters.get(name, p.get("Default"))
            self.values[name] = value.split(",") if p["Type"] == "CommaDelimitedList" else value
        self.conditions = {name: self.fill(c) for name, c in self.raw["Conditions"].items()}
        self.resources = {}
        for name, r in self.raw["Resources"].items():
            if "Condition" not in r or self.conditions[r["Condition"]]:
                self.resources[name] = r | {"Properties": self.fill(r.get("Properties", {}))}

    def fill(self, v):
        if isinstance(v, list):
            return [f for f in map(self.fill, v) if f is not self.NOTHING]
        if not isinstance(v, dict):
            return v
        if len(v) == 1:
            (name, argument), = v.items()
            if name == "Ref":
                return self.NOTHING if argument == "AWS::NoValue" else self.values.get(argument, argument)
            if name == "Fn::GetAtt":
                return argument if isinstance(argument, str) else ".".join(argument)
            if name == "Fn::If":
                condition, yes, no = argument
                return self.fill(yes if self.conditions[condition] else no)
            if name == "Fn::Equals":
                a, b = self.fill(argument)
                return a == b
            if name == "Fn::Not":
                return not self.fill(argument)[0]
            if name == "Fn::Join":
                separator, parts = argument
                return separator.join(map(str, self.fill(parts)))
            if name == "Fn::Sub":
                text, names = argument if isinstance(argument, list) else (argument, {})
                names = self.values | {n: self.fill(x) for n, x in names.items()}
                return re.sub(r"\$\{([^}]+)\}", lambda m: str(names.get(m[1], m[1])), text)
            if name == "Condition":
                return self.conditions[argument]
        filled = {name: self.fill(x) for name, x in v.items()}
        return {name: x for name, x in filled.items() if x is not self.NOTHING}

    def __getitem__(self, name):
        return self.resources[name]["Properties"]

    def of(self, kind):
        return {name: r["Properties"] for name, r in self.resources.items() if r["Type"] == kind}

    def kinds(self):
        return collections.Counter(r["Type"] for r in self.resources.values())


least, most = Template(LEAST), Template(MOST)
scheduled = Template(LEAST | {"ReconcileSchedule": "rate(6 hours)", "ReconcileRules": "9f3c1a2eb0d4"})


def listed(v):
    return v if isinstance(v, list) else [v]


def statements(document):
    return {s["Sid"]: s for s in document["Statement"]}


class Resources(unittest.TestCase):
    def test_kinds(self):
        want = {
            "AWS::AppConfig::Application": 1,
            "AWS::AppConfig::ConfigurationProfile": 1,
            "AWS::AppConfig::HostedConfigurationVersion": 1,
            "AWS::CloudWatch::Alarm": 30,
            "AWS::CloudWatch::Dashboard": 1,
            "AWS::CodeDeploy::Application": 1,
            "AWS::CodeDeploy::DeploymentGroup": 5,
            "AWS::IAM::Role": 6,
            "AWS::Lambda::Alias": 5,
            "AWS::Lambda::EventInvokeConfig": 5,
            "AWS::Lambda::EventSourceMapping": 5,
            "AWS::Lambda::Function": 5,
            "AWS::Lambda::Version": 5,
            "AWS::Logs::LogGroup": 5,
            "AWS::Logs::QueryDefinition": 4,
            "AWS::SQS::Queue": 10,
            "AWS::SQS::QueuePolicy": 5,
        }
        self.assertEqual(dict(least.kinds()), want)
        options = {"AWS::Events::Rule": 5, "AWS::Lambda::Url": 5, "AWS::SNS::Subscription": 5}
        self.assertEqual(dict(most.kinds()), want | options)

    def test_the_functions_are_alike(self):
        def of(name):
            text = json.dumps({n: r for n, r in most.raw["Resources"].items() if n.startswith(name)}, sort_keys=True)
            text = re.sub(r'"Description": "(Tags|POST)[^"]*"', "", text)
            text = re.sub(r'"type": \[[^\]]*\]', "", text)
            text = re.sub(r"FunctionVersion[0-9a-f]{10}", "FunctionVersion", text)
            return text.replace(name, "Some")

        for name in FUNCTIONS:
            self.assertEqual(of("ServerCreated"), of(name))


class Rights(unittest.TestCase):
    def test_no_managed_policies(self):
        for t in (least, most):
            for name, role in t.of("AWS::IAM::Role").items():
                self.assertNotIn("ManagedPolicyArns", role, name)
            self.assertEqual(t.of("AWS::IAM::Policy") | t.of("AWS::IAM::ManagedPolicy"), {})

    def test_functions(self):
        for name in FUNCTIONS:
            queue, dead, log = f"{name}Queue.Arn", f"{name}DeadLetterQueue.Arn", f"{name}LogGroup.Arn"
            take = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"]
            want = {
                "Log": (["logs:CreateLogStream", "logs:PutLogEvents"], log),
                "TakeEvents": (take, queue),
                "SendDeadLetters": (["sqs:SendMessage"], dead),
                "ReadCredentials": (["secretsmanager:GetSecretValue"], SECRET),
                "ReadRules": (["ssm:GetParameter"], f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/tagger/rules"),
            }
            self.assertEqual(self.rights(least, name), want)
            vpc = ["CreateNetworkInterface", "DeleteNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets"]
            vpc += ["AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"]
            want["DecryptCredentials"] = (["kms:Decrypt"], KEY)
            want["AttachToVpc"] = (["ec2:" + action for action in vpc], "*")
            self.assertEqual(self.rights(most, name), want)
            by_value = Template({"SecretArn": SECRET, "TaggingRules": "rules: []"})
            self.assertNotIn("ReadRules", self.rights(by_value, name))

    def rights(self, t, name):
        self.assertEqual(t[f"{name}Function"]["Role"], f"{name}Role.Arn")
        role = t[f"{name}Role"]
        self.assertEqual(
            statement_of(role["AssumeRolePolicyDocument"])["Principal"], {"Service": "lambda.amazonaws.com"}
        )
        self.assertEqual(len(role["Policies"]), 1)
        found = statements(role["Policies"][0]["PolicyDocument"])
        self.assertEqual({s["Effect"] for s in found.values()}, {"Allow"})
        return {sid: (listed(s["Action"]), s["Resource"]) for sid, s in found.items()}

    def test_deployment(self):
        role = most["DeploymentRole"]
        self.assertEqual(
            statement_of(role["AssumeRolePolicyDocument"])["Principal"], {"Service": "codedeploy.amazonaws.com"}
        )
        found = statements(role["Policies"][0]["PolicyDocument"])
        self.assertEqual(found["LookAtAlarms"]["Action"], "cloudwatch:DescribeAlarms")
        self.assertEqual(found["MoveAlias"]["Resource"], f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:tagger-*")
        self.assertEqual(set(found), {"LookAtAlarms", "MoveAlias"})

    def test_deployer(self):
        """What a deployer may do covers every kind of resource in the template."""
        policy = json.loads((HERE / "deployer-policy.json").read_text())
        allowed = {a for s in policy["Statement"] if s["Effect"] == "Allow" for a in listed(s["Action"])}
        need = {
            "AWS::AppConfig::Application": ["appconfig:CreateApplication", "appconfig:DeleteApplication"],
            "AWS::AppConfig::ConfigurationProfile": [
                "appconfig:CreateConfigurationProfile", "appconfig:DeleteConfigurationProfile",
            ],
            "AWS::AppConfig::HostedConfigurationVersion": [
                "appconfig:CreateHostedConfigurationVersion",
                "appconfig:DeleteHostedConfigurationVersion",
            ],
            "AWS::CloudWatch::Alarm": ["cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"],
            "AWS::CloudWatch::Dashboard": ["cloudwatch:PutDashboard", "cloudwatch:DeleteDashboards"],
            "AWS::CodeDeploy::Application": ["codedeploy:CreateApplication", "codedeploy:DeleteApplication"],
            "AWS::CodeDeploy::DeploymentGroup": [
                "codedeploy:CreateDeploymentGroup",
                "codedeploy:DeleteDeploymentGroup",
                "codedeploy:CreateDeployment",
                "codedeploy:GetDeployment",
            ],
            "AWS::Events::Rule": ["events:PutRule", "events:DeleteRule", "events:PutTargets", "events:RemoveTargets"],
            "AWS::IAM::Role": [
                "iam:CreateRole", "iam:DeleteRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:PassRole",
            ],
            "AWS::Lambda::Alias": ["lambda:CreateAlias", "lambda:UpdateAlias", "lambda:DeleteAlias"],
            "AWS::Lambda::EventInvokeConfig": [
                "lambda:PutFunctionEventInvokeConfig", "lambda:DeleteFunctionEventInvokeConfig",
            ],
            "AWS::Lambda::EventSourceMapping": ["lambda:CreateEventSourceMapping", "lambda:DeleteEventSourceMapping"],
            "AWS::Lambda::Function": [
                "lambda:CreateFunction",
                "lambda:DeleteFunction",
                "lambda:UpdateFunctionCode",
                "lambda:UpdateFunctionConfiguration",
            ],
            "AWS::Lambda::Url": ["lambda:CreateFunctionUrlConfig", "lambda:DeleteFunctionUrlConfig"],
            "AWS::Lambda::Version": ["lambda:PublishVersion"],
            "AWS::Logs::LogGroup": ["logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy"],
            "AWS::Logs::QueryDefinition": ["logs:PutQueryDefinition", "logs:DeleteQueryDefinition"],
            "AWS::SNS::Subscription": ["sns:Subscribe", "sns:Unsubscribe", "sns:SetSubscriptionAttributes"],
            "AWS::SQS::Queue": [
                "sqs:CreateQueue", "sqs:DeleteQueue", "sqs:SetQueueAttributes", "sqs:GetQueueAttributes",
            ],
            "AWS::SQS::QueuePolicy": ["sqs:SetQueueAttributes"],
        }
        self.assertEqual(set(most.kinds()), set(need))
        for kind, actions in need.items():
            for action in actions:
                self.assertIn(action, allowed, kind)
        for s in policy["Statement"]:
            for action in listed(s["Action"]):
                self.assertRegex(action, r"^[a-z0-9]+:[A-Z]\w+$", "an action with a wildcard")
            if "iam:PassRole" in listed(s["Action"]):
                self.assertEqual(s["Resource"], "arn:aws:iam::ACCOUNT:role/tagger-*")


def statement_of(document):
    (one,) = document["Statement"]
    return one


class Queues(unittest.TestCase):
    def test_queues(self):
        for name in FUNCTIONS:
            queue, dead = least[f"{name}Queue"], least[f"{name}DeadLetterQueue"]
            self.assertTrue(queue["SqsManagedSseEnabled"] and dead["SqsManagedSseEnabled"])
            self.assertEqual(queue["MaximumMessageSize"], 256 << 10)
            # The reason and the other attributes of a dead letter count as part of it.
            self.assertGreaterEqual(dead["MaximumMessageSize"] - queue["MaximumMessageSize"], 64 << 10)

    def test_policies(self):
        for name in FUNCTIONS:
            both = [f"{name}Queue.Arn", f"{name}DeadLetterQueue.Arn"]
            tls = {"Sid": "OnlyOverTls", "Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": both}
            tls["Condition"] = {"Bool": {"aws:SecureTransport": "false"}}
            policy = least[f"{name}QueuePolicy"]
            self.assertEqual(policy["Queues"], [f"{name}Queue", f"{name}DeadLetterQueue"])
            self.assertEqual(policy["PolicyDocument"]["Statement"], [tls])

            def send(sid, service, source):
                allow = {"Sid": sid, "Effect": "Allow", "Principal": {"Service": service}, "Action": "sqs:SendMessage"}
                return allow | {"Resource": both, "Condition": {"ArnEquals": {"aws:SourceArn": source}}}

            bus = send("FromEventBridge", "events.amazonaws.com", f"{name}EventRule.Arn")
            topic = send("FromSns", "sns.amazonaws.com", TOPIC + "events")
            self.assertEqual(most[f"{name}QueuePolicy"]["PolicyDocument"]["Statement"], [tls, bus, topic])

    def test_event_sources(self):
        for name in FUNCTIONS:
            rule, subscription = most[f"{name}EventRule"], most[f"{name}EventSubscription"]
            (target,) = rule["Targets"]
            self.assertEqual(target["Arn"], f"{name}Queue.Arn")
            self.assertEqual(target["InputPath"], "$.detail")
            self.assertEqual(target["DeadLetterConfig"], {"Arn": f"{name}DeadLetterQueue.Arn"})
            self.assertEqual(rule["EventBusName"], "tagging")
            self.assertEqual(rule["EventPattern"]["detail"], subscription["FilterPolicy"])
            self.assertEqual(subscription["FilterPolicyScope"], "MessageBody")
            self.assertIs(subscription["RawMessageDelivery"], True)
            self.assertEqual(subscription["Endpoint"], f"{name}Queue.Arn")

    def test_event_types(self):
        """The types that EventBridge and SNS let pass are those of the actions that the function handles."""
        events = (ROOT / "docs" / "events.md").read_text()
        rows = re.findall(r"^\| `(\w+\.\w+)` \| `([\w.]+)` \|([^|]*)\|([^|]*)\|", events, re.M)
        types = {}
        for action, plain, legacy, versioned in rows:
            notifications = re.findall(r"`([\w.]+)`", legacy + versioned)
            types[action] = {"io.github.cloudtagger." + plain} | {"org.openstack." + n for n in notifications}
        want = {"ServerCreated": types["server.created"], "SnapshotCreated": types["snapshot.created"]}
        changes = ("started", "stopped", "resized", "rebuilt")
        want["VolumeCreated"] = types["volume.created"]
        moves = ("attached", "detached", "resized", "transferred")
        want["VolumeChanged"] = set().union(*(types[f"volume.{change}"] for change in moves))
        want["ServerChanged"] = set().union(*(types[f"server.{change}"] for change in changes))
        for name in FUNCTIONS:
            pattern = most[f"{name}EventRule"]["EventPattern"]["detail"]
            self.assertEqual(set(pattern["type"]), want[name])
            self.assertEqual(pattern["specversion"], ["1.0"])


class Versions(unittest.TestCase):
    def test_everything_belongs_to_the_alias(self):
        for name in FUNCTIONS:
            mapping = least[f"{name}FunctionQueue"]
            self.assertEqual(mapping["FunctionName"], f"{name}FunctionAliaslive")
            self.assertEqual(mapping["EventSourceArn"], f"{name}Queue.Arn")
            self.assertEqual(mapping["FunctionResponseTypes"], ["ReportBatchItemFailures"])
            self.assertEqual((mapping["BatchSize"], mapping["ScalingConfig"]), (10, {"MaximumConcurrency": 5}))
            invoke = least[f"{name}FunctionEventInvokeConfig"]
            self.assertEqual(invoke["Qualifier"], "live")
            self.assertEqual(invoke["MaximumRetryAttempts"], 2)
            self.assertEqual(invoke["DestinationConfig"], {"OnFailure": {"Destination": f"{name}DeadLetterQueue.Arn"}})
            url = most[f"{name}Url"]
            self.assertEqual(
                (url["TargetFunctionArn"], url["Qualifier"], url["AuthType"]), (f"{name}Function", "live", "AWS_IAM")
            )
            self.assertEqual(most.resources[f"{name}Url"]["DependsOn"], f"{name}FunctionAliaslive")

    def test_gradual(self):
        for preference in ("Canary10Percent10Minutes", "AllAtOnce", "Linear10PercentEvery1Minute"):
            t = Template(LEAST | {"Deployment": preference})
            for name in FUNCTIONS:
                group = t[f"{name}FunctionDeploymentGroup"]
                self.assertEqual(group["DeploymentConfigName"], "CodeDeployDefault.Lambda" + preference)
                self.assertEqual(
                    group["AlarmConfiguration"], {"Enabled": True, "Alarms": [{"Name": f"{name}ErrorAlarm"}]}
                )
                self.assertIn("DEPLOYMENT_STOP_ON_ALARM", group["AutoRollbackConfiguration"]["Events"])
                self.assertEqual(group["ServiceRoleArn"], "DeploymentRole.Arn")
                update = t.resources[f"{name}FunctionAliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
                self.assertEqual(update["DeploymentGroupName"], {"Ref": f"{name}FunctionDeploymentGroup"})

    def test_a_changed_setting_makes_a_new_version(self):
        """Every parameter in a function's properties is part of what the versions' descriptions count."""
        def parameters(v):
            if isinstance(v, dict):
                if set(v) == {"Ref"} and v["Ref"] in most.raw["Parameters"]:
                    return {v["Ref"]}
                v = list(v.values())
            return set().union(*map(parameters, v)) if isinstance(v, list) else set()

        resources = most.raw["Resources"]
        counted = parameters(resources["Settings"]["Properties"]["Content"])
        own = {"ReconcileRules", "ReconcileMax", "ReconcileMaxPercent"}
        for name in FUNCTIONS:
            self.assertEqual(parameters(resources[f"{name}Function"]["Properties"]), counted - own)
        self.assertEqual(parameters(resources["ReconcileFunction"]["Properties"]), counted)
        versions = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::Lambda::Version"]
        self.assertEqual(len(versions), 6)
        for version in versions:
            self.assertEqual(version["Description"], {"Fn::Sub": "settings ${Settings}"})


class Watching(unittest.TestCase):
    def test_alarms(self):
        alarms = most.of("AWS::CloudWatch::Alarm")
        want = {
            "Rejected": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "{}DeadLetterQueue.QueueName"),
            "Stale": ("AWS/SQS", "ApproximateAgeOfOldestMessage", "{}Queue.QueueName"),
            "Slow": ("Tagger", "event_to_tagged", "{}Function"),
            "Throttle": ("AWS/Lambda", "Throttles", "{}Function"),
            "Error": ("AWS/Lambda", "Errors", "{}Function"),
        }
        for name in FUNCTIONS:
            for alarm, (namespace, metric, dimension) in want.items():
                a = alarms.pop(f"{name}{alarm}Alarm")
                self.assertEqual((a["Namespace"], a["MetricName"]), (namespace, metric))
                self.assertEqual([d["Value"] for d in a["Dimensions"]], [dimension.format(name)])
                self.told(a)
            attention = alarms.pop(f"{name}AttentionAlarm")
            self.told(attention)
            summed = {m["MetricStat"]["Metric"]["MetricName"] for m in attention["Metrics"] if "MetricStat" in m}
            self.assertEqual(summed, worth_an_alarm())
            (expression,) = [m["Expression"] for m in attention["Metrics"] if "Expression" in m]
            self.assertEqual(set(re.findall(r"FILL\((\w+), 0\)", expression)), summed)
        self.assertEqual(alarms, {})
        for a in least.of("AWS::CloudWatch::Alarm").values():
            self.assertNotIn("AlarmActions", a)

    def told(self, alarm):
        self.assertEqual((alarm["AlarmActions"], alarm["OKActions"]), ([TOPIC + "alarms"], [TOPIC + "alarms"]))

    def test_dashboard(self):
        body = json.loads(most["Dashboard"]["DashboardBody"])
        metrics = [m for w in body["widgets"] for m in w["properties"]["metrics"]]
        self.assertEqual(len(body["widgets"]), 20)
        documented = set(re.findall(r"`(\w+)`", operations()))
        for m in metrics:
            if m[0] == "Tagger":
                self.assertIn(m[1], documented)
        outcomes = {m[1] for m in metrics if m[0] == "Tagger"}
        self.assertLessEqual(worth_an_alarm() - {"rules_refused"}, outcomes)
        self.assertEqual({w["properties"]["region"] for w in body["widgets"]}, {REGION})

    def test_queries(self):
        """The fields of the saved queries are those of the log."""
        logged = set(re.findall(r'"(\w+)":', operations())) | {"@timestamp", "again_in"}
        for name, q in most.of("AWS::Logs::QueryDefinition").items():
            (fields,) = re.findall(r"^fields (.*)$", q["QueryString"], re.M) or [""]
            for field in filter(None, re.split(r", ", fields)):
                self.assertIn(field, logged, name)


def operations():
    return (ROOT / "docs" / "operations.md").read_text()


def worth_an_alarm():
    """The metrics that the documentation calls worth an alarm."""
    (sentence,) = re.findall(r"^Worth an alarm:(.*)$", operations(), re.M)
    return set(re.findall(r"`(\w+)`", sentence))


class Reconcile(unittest.TestCase):
    def test_it_is_there_on_demand(self):
        for t in (least, most):
            self.assertEqual([name for name in t.resources if name.startswith("Reconcile")], [])
        more = scheduled.kinds() - least.kinds()
        self.assertEqual(dict(more), {
            "AWS::CloudWatch::Alarm": 2,
            "AWS::Events::Rule": 1,
            "AWS::IAM::Role": 1,
            "AWS::Lambda::Alias": 1,
            "AWS::Lambda::EventInvokeConfig": 1,
            "AWS::Lambda::Function": 1,
            "AWS::Lambda::Permission": 1,
            "AWS::Lambda::Version": 1,
            "AWS::Logs::LogGroup": 1,
        })
        deployer = json.loads((HERE / "deployer-policy.json").read_text())
        allowed = {a for s in deployer["Statement"] for a in listed(s["Action"])}
        self.assertLessEqual({"lambda:AddPermission", "lambda:RemovePermission"}, allowed)

    def test_schedule(self):
        (name, rule), = scheduled.of("AWS::Events::Rule").items()
        (target,) = rule["Targets"]
        self.assertEqual((rule["ScheduleExpression"], target["Arn"]), ("rate(6 hours)", "ReconcileFunctionAliaslive"))
        (permission,) = scheduled.of("AWS::Lambda::Permission").values()
        self.assertEqual((permission["Principal"], permission["SourceArn"]), ("events.amazonaws.com", f"{name}.Arn"))
        function = scheduled["ReconcileFunction"]
        self.assertEqual(function["Timeout"], 900)
        variables = function["Environment"]["Variables"]
        self.assertEqual(variables["TAGGER_RECONCILE_RULES"], "9f3c1a2eb0d4")
        self.assertEqual((variables["TAGGER_RECONCILE_MAX"], variables["TAGGER_RECONCILE_MAX_PERCENT"]), (50, 2))
        self.assertEqual(scheduled["ReconcileFunctionEventInvokeConfig"]["MaximumRetryAttempts"], 0)

    def test_rights(self):
        self.assertEqual(Rights.rights(self, scheduled, "Reconcile"), {
            "Log": (["logs:CreateLogStream", "logs:PutLogEvents"], "ReconcileLogGroup.Arn"),
            "ReadCredentials": (["secretsmanager:GetSecretValue"], SECRET),
            "ReadRules": (["ssm:GetParameter"], f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/tagger/rules"),
        })

    def test_alarms(self):
        alarm = scheduled["ReconcileAttentionAlarm"]
        metrics = {m["MetricStat"]["Metric"]["MetricName"] for m in alarm["Metrics"] if "MetricStat" in m}
        rows = re.findall(r"^\| `(\w+)` \|[^|]*\| yes \|", (ROOT / "docs" / "reconcile.md").read_text(), re.M)
        self.assertEqual(metrics, {"reconcile_" + outcome for outcome in rows})
        (expression,) = [m["Expression"] for m in alarm["Metrics"] if "Expression" in m]
        self.assertEqual({"reconcile_" + m for m in re.findall(r"FILL\((\w+), 0\)", expression)}, metrics)


class Example(unittest.TestCase):
    def test_samconfig(self):
        settings = tomllib.loads((HERE / "samconfig.example.toml").read_text())["default"]["deploy"]["parameters"]
        names = [p.partition("=")[0] for p in settings["parameter_overrides"]]
        self.assertLessEqual(set(names), set(most.raw["Parameters"]))
        required = {n for n, p in most.raw["Parameters"].items() if "Default" not in p}
        self.assertLessEqual(required, set(names))
        self.assertEqual(settings["stack_name"], "tagger")


class Stack(unittest.TestCase):
    """moto makes what it knows of the stack, and leaves out the rest without a word. Both are named here."""

    MADE = {
        "AWS::CloudWatch::Dashboard": 1,
        "AWS::Events::Rule": 5,
        "AWS::IAM::Role": 6,
        "AWS::Lambda::EventSourceMapping": 5,
        "AWS::Lambda::Function": 5,
        "AWS::Lambda::Version": 5,
        "AWS::Logs::LogGroup": 5,
        "AWS::SQS::Queue": 10,
    }
    LEFT_OUT = {
        "AWS::AppConfig::Application",
        "AWS::AppConfig::ConfigurationProfile",
        "AWS::AppConfig::HostedConfigurationVersion",
        "AWS::CloudWatch::Alarm",
        "AWS::CodeDeploy::Application",
        "AWS::CodeDeploy::DeploymentGroup",
        "AWS::Lambda::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Url",
        "AWS::Logs::QueryDefinition",
        "AWS::SNS::Subscription",
        "AWS::SQS::QueuePolicy",
    }

    def client(self, service):
        return boto3.client(service, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test")

    def test_stack(self):
        with warnings.catch_warnings(), moto.mock_aws():
            warnings.simplefilter("ignore")  # of what it leaves out
            self.make()
            self.look()

    def make(self):
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as z:
            z.writestr("bootstrap", "")
        self.client("s3").create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": REGION})
        self.client("s3").put_object(Bucket="code", Key="function.zip", Body=code.getvalue())
        for topic in ("alarms", "events"):
            self.client("sns").create_topic(Name=topic)
        self.client("events").create_event_bus(Name="tagging")
        parameters = {n: v for n, v in MOST.items() if not n.startswith("Vpc")}
        template = transformed(parameters)
        for name in FUNCTIONS:
            del template["Outputs"][f"{name}FunctionUrl"]  # moto trips over the attribute of what it does not know
        # Nor does it know an alias; what refers to one gets the function.
        text = re.sub(r'\{"Ref": "(\w+)Aliaslive"\}', r'{"Ref": "\1"}', json.dumps(template))
        self.client("cloudformation").create_stack(
            StackName="tagger", TemplateBody=text, Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": n, "ParameterValue": v} for n, v in parameters.items()],
        )
        (stack,) = self.client("cloudformation").describe_stacks(StackName="tagger")["Stacks"]
        self.assertEqual(stack["StackStatus"], "CREATE_COMPLETE")
        self.outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName="tagger")
        self.resources = {r["LogicalResourceId"]: r for p in pages for r in p["StackResourceSummaries"]}

    def look(self):
        made = collections.Counter(r["ResourceType"] for r in self.resources.values() if r["ResourceType"])
        self.assertEqual(dict(made), self.MADE)
        self.assertEqual(set(most.kinds()) - set(made), self.LEFT_OUT)
        physical = {name: r["PhysicalResourceId"] for name, r in self.resources.items()}

        sqs = self.client("sqs")
        mappings = self.client("lambda").list_event_source_mappings()["EventSourceMappings"]
        mappings = {m["EventSourceArn"]: m for m in mappings}
        for name in FUNCTIONS:
            def attributes(output):
                return sqs.get_queue_attributes(QueueUrl=self.outputs[output], AttributeNames=["All"])["Attributes"]

            queue, dead = attributes(f"{name}QueueUrl"), attributes(f"{name}DeadLetterQueueUrl")
            self.assertEqual((queue["MaximumMessageSize"], queue["VisibilityTimeout"]), ("262144", "360"))
            self.assertEqual(
                json.loads(queue["RedrivePolicy"]), {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": 200}
            )
            self.assertEqual((dead["MaximumMessageSize"], dead["MessageRetentionPeriod"]), ("1048576", "1209600"))

            mapping = mappings[queue["QueueArn"]]
            self.assertIn(physical[f"{name}Function"], mapping["FunctionArn"])
            self.assertEqual(mapping["FunctionResponseTypes"], ["ReportBatchItemFailures"])
            self.assertEqual(mapping["ScalingConfig"], {"MaximumConcurrency": 5})

            function = self.client("lambda").get_function_configuration(FunctionName=physical[f"{name}Function"])
            variables = function["Environment"]["Variables"]
            self.assertEqual(variables["TAGGER_DEAD_LETTER_QUEUE_URL"], self.outputs[f"{name}DeadLetterQueueUrl"])
            self.assertTrue(function["Role"].endswith(physical[f"{name}Role"]), function["Role"])

            # What the role may do, with the names that it has in the end.
            role = self.client("iam").get_role_policy(RoleName=physical[f"{name}Role"], PolicyName="function")
            document = ast.literal_eval(role["PolicyDocument"])  # moto hands it back as Python, with None for NoValue
            rights = {s["Sid"]: s["Resource"] for s in document["Statement"] if s}
            self.assertEqual(rights["TakeEvents"], queue["QueueArn"])
            self.assertEqual(rights["SendDeadLetters"], dead["QueueArn"])
            self.assertEqual(rights["ReadCredentials"], SECRET)
            self.assertNotIn("AttachToVpc", rights)

            rule = self.client("events").list_targets_by_rule(Rule=physical[f"{name}EventRule"], EventBusName="tagging")
            (target,) = rule["Targets"]
            self.assertEqual((target["Arn"], target["DeadLetterConfig"]["Arn"]), (queue["QueueArn"], dead["QueueArn"]))
        self.assertEqual(len(mappings), 5)
        body = self.client("cloudwatch").get_dashboard(DashboardName="tagger")["DashboardBody"]
        self.assertEqual(len(json.loads(body)["widgets"]), 20)


if __name__ == "__main__":
    unittest.main()
