#!/usr/bin/env bash
# Kafka ACLs: what each role needs, and nothing else. Made by `make docs` from the table of topics.
#
#   BOOTSTRAP=broker:9093 COMMAND_CONFIG=admin.properties deploy/kafka-acls.sh
#
# KAFKA_ACLS is Kafka's own kafka-acls.sh. Run it again for another FLEET or GROUP_PREFIX.
set -euo pipefail
: "${BOOTSTRAP:?set BOOTSTRAP to host:port of a broker}"
KAFKA_ACLS=${KAFKA_ACLS:-kafka-acls.sh}
FLEET=${FLEET:-default}
GROUP_PREFIX=${GROUP_PREFIX:-tidewatch}
ON_CALL_GROUP=${ON_CALL_GROUP:-on-call}
ADMIN=${ADMIN:-User:tidewatch-admin}
PRODUCER=${PRODUCER:-User:tidewatch-producer}
DETECT=${DETECT:-User:tidewatch-detect}
RECORD=${RECORD:-User:tidewatch-record}
ON_CALL=${ON_CALL:-User:tidewatch-on-call}

allow() {
  "$KAFKA_ACLS" --bootstrap-server "$BOOTSTRAP" ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} \
    --add --allow-principal "$@" >/dev/null
}

# admin: tidewatch topics create
allow "$ADMIN" --operation Create --operation Describe --operation DescribeConfigs \
  --topic llm.interactions \
  --topic llm.feedback \
  --topic llm.changes \
  --topic tidewatch.partials \
  --topic tidewatch.summaries \
  --topic tidewatch.anomalies \
  --topic tidewatch.incidents \
  --topic llm.alerts \
  --topic llm.deadletters \
  --topic tidewatch.state

# producer: services that report
allow "$PRODUCER" --operation Write \
  --topic llm.interactions \
  --topic llm.feedback \
  --topic llm.changes

# detect: tidewatch worker detect
allow "$DETECT" --operation Read \
  --topic llm.interactions \
  --topic llm.feedback \
  --topic llm.changes \
  --topic tidewatch.partials \
  --topic tidewatch.state \
  --topic llm.alerts \
  --group "$GROUP_PREFIX-$FLEET-detect"
allow "$DETECT" --operation Write \
  --topic tidewatch.partials \
  --topic tidewatch.summaries \
  --topic tidewatch.anomalies \
  --topic tidewatch.incidents \
  --topic llm.alerts \
  --topic llm.deadletters \
  --topic tidewatch.state \
  --transactional-id "$GROUP_PREFIX-$FLEET-state"

# record: tidewatch worker record
allow "$RECORD" --operation Read \
  --topic llm.interactions \
  --topic llm.changes \
  --topic tidewatch.summaries \
  --topic tidewatch.anomalies \
  --topic tidewatch.incidents \
  --topic llm.alerts \
  --topic llm.deadletters \
  --group "$GROUP_PREFIX-$FLEET-record"
allow "$RECORD" --operation Write \
  --topic llm.deadletters \
  --topic llm.alerts

# on-call: who reads alerts
allow "$ON_CALL" --operation Read \
  --topic llm.alerts \
  --group "$ON_CALL_GROUP"
