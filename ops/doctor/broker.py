"""The checks of Kafka: the topics, and the groups that read them."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial

from aiokafka.errors import KafkaError

from consumers.cluster import TopicMissing, Trouble, trouble_of
from domain.checkup import broker
from domain.checkup.diagnosis import Diagnosis, Level
from ops import kafka
from ops.doctor import broker_state, checks
from ops.doctor.broker_state import BrokerState
from ops.doctor.checks import WITHIN_SECONDS, Check
from ops.settings import Settings
from schemas.feeds import FEEDS


async def examine(settings: Settings, servers: str | None) -> list[Diagnosis]:
    """Check the brokers; nothing but the connection where there is none. `servers` is None where no broker runs."""
    if servers is None:
        measured = "none is set, and no embedded one runs"
        command = "export REPOINT_KAFKA_BOOTSTRAP_SERVERS=…"
        return [Diagnosis("broker", "Kafka", Level.WARNING, "a broker", measured, command)]
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                state = await stack.enter_async_context(broker_state.opened(servers, kafka.security(settings)))
        except (Trouble, KafkaError, OSError) as error:
            measured = str(trouble_of(error, settings.kafka_topic))
            command = f"kafka-broker-api-versions.sh --bootstrap-server {servers}"
            return [Diagnosis("broker", servers, Level.FAULT, "answers", measured, command)]
        answers = Diagnosis("broker", servers, Level.OK, "answers", "answers")
        return [answers, *await checks.run(_checks(settings, state))]


def _checks(settings: Settings, state: BrokerState) -> Mapping[str, Check]:
    updates, thin = settings.kafka_topic, settings.kafka_thin_topic
    group, thin_group = settings.kafka_group, f"{settings.kafka_group}-thin"
    return {
        f"topics {updates}": partial(_topic, state, updates, is_needed=True),
        f"topics {thin}": partial(_topic, state, thin, is_needed=_has_thin_events(settings)),
        f"groups {group}": partial(_group, state, group, updates),
        f"groups {thin_group}": partial(_group, state, thin_group, thin),
    }


def _has_thin_events(settings: Settings) -> bool:
    feeds = {*(settings.feed_secrets or {}), *(settings.feed_fetch or {})}
    return any(FEEDS[feed].fetched is not None for feed in feeds)


async def _topic(state: BrokerState, name: str, *, is_needed: bool) -> Iterable[Diagnosis]:
    try:
        return broker.topic(await state.topic(name))
    except TopicMissing:
        return [broker.missing_topic(name, is_needed=is_needed)]


async def _group(state: BrokerState, group: str, topic: str) -> Iterable[Diagnosis]:
    try:
        return broker.group(await state.group(group, topic, datetime.now(UTC)))
    except TopicMissing:
        return []  # the check of the topic says so
