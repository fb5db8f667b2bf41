"""A real broker: the one you name, a container, or Apache Kafka fetched by Maven and run by Java here.

Only where none of them can be had, librdkafka's own broker stands in; REPOINT_TEST_KAFKA=apache makes that a
failure.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops import embedded
from testbed.engine import engine_has

POM = Path(__file__).parent / "pom.xml"
MAVEN = {"m": "http://maven.apache.org/POM/4.0.0"}
VERSION = ET.parse(POM).findtext("m:properties/m:kafka.version", namespaces=MAVEN)  # noqa: S314 - our own file
IMAGE = f"apache/kafka:{VERSION}"
CLUSTER = "cmVwb2ludC10ZXN0cy0wMQ"  # any 16 bytes in base64
START_DEADLINE = 120  # seconds; 6 s on a quiet machine
JAVA_NEEDED = 17  # what Kafka 4's broker is compiled for
CONTAINER_PORT = 9092  # inside; outside it is whatever is free

# A JVM for a broker with a handful of small topics: little memory, quick to start, few threads.
JAVA = ("java", "-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
LOG = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)

# Ends its child when its own standard input ends, which is when pytest ends, however it ends.
KEEPER = """
import subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: (sys.stdin.read(), child.kill()), daemon=True).start()
sys.exit(child.wait())
"""

# The address that the broker tells its clients must be one that reaches it from here, and only a running container
# has one: the image's own start waits for it. A line without its end was not written to the end yet.
TOLD_LATER = """
until read -r told 2>/dev/null < /tmp/told; do sleep 0.1; done
KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://$told exec /etc/kafka/docker/run
"""

# One node, which is broker and controller. Small internal topics make it start and stop quickly.
PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Tests wait for their groups: no pause for members that might still come, and sessions may be short.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


@dataclass(frozen=True)
class Broker:
    """`servers` to bootstrap from; `origin` is one line on where it comes from."""

    servers: str
    origin: str
    real: bool = True


@contextmanager
def kafka(named: str | None, wanted: str) -> Iterator[Broker]:
    """`named` is REPOINT_TEST_KAFKA_BOOTSTRAP_SERVERS; `wanted` REPOINT_TEST_KAFKA: auto, apache or mock."""
    if wanted not in {"auto", "apache", "mock"}:
        raise ValueError(f"REPOINT_TEST_KAFKA: {wanted!r} is none of auto, apache, mock")
    if wanted == "mock":
        yield from _mock("REPOINT_TEST_KAFKA=mock")
    elif named:
        yield Broker(named, "yours, by REPOINT_TEST_KAFKA_BOOTSTRAP_SERVERS")
    elif engine_has(IMAGE):
        yield from _container()
    elif (lacking := missing()) is None:
        yield from _apache()
    elif wanted == "apache":
        raise RuntimeError(f"REPOINT_TEST_KAFKA=apache, but {lacking}")
    else:
        yield from _mock(lacking)


def _mock(why: str) -> Iterator[Broker]:
    with embedded.broker() as servers:
        yield Broker(servers, f"NOT Apache Kafka but librdkafka's broker: {why}", real=False)


def _container() -> Iterator[Broker]:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow, and rarely needed
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415 - as above

    container = DockerContainer(IMAGE).with_exposed_ports(CONTAINER_PORT)
    properties = PROPERTIES | _listeners(f"0.0.0.0:{CONTAINER_PORT}", "127.0.0.1:9093")
    container.with_envs(**{f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in properties.items()})
    container.with_command(["bash", "-c", TOLD_LATER])
    with container:
        servers = f"{container.get_container_host_ip()}:{container.get_exposed_port(CONTAINER_PORT)}"
        container.exec(["bash", "-c", f"echo {servers} > /tmp/told"])
        LogMessageWaitStrategy("Kafka Server started").wait_until_ready(container)
        yield Broker(servers, f"container {IMAGE}")


def missing() -> str | None:
    """What keeps Apache Kafka from running by this machine's Java, if anything does; fetches it to find out."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            return f"there is no `{tool}` here"
    settings = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr
    major = int(settings.split('"')[1].split(".")[0])
    if major < JAVA_NEEDED:
        return f"Java {major} is too old for Kafka {VERSION}"
    return None if _fetch().exists() else f"Maven cannot fetch Kafka {VERSION}"


def _fetch() -> Path:
    """The folder of the broker's jars, fetched once into the cache; it is not there where that cannot be done."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repoint"
    jars = cache / f"kafka-{VERSION}"
    if jars.exists():
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    # Aside first, so that half a download never looks like a whole one.
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as aside:
        output = f"-DoutputDirectory={aside}/jars"
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", output, "-DincludeScope=runtime"]
        fetched = subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode == 0
        # Another run may have been first: then its folder serves.
        if fetched and not jars.exists():
            Path(aside, "jars").rename(jars)
    return jars


@contextmanager
def apache_behind(servers: str, port: int) -> Iterator[None]:
    """Apache Kafka on `port`, which tells its clients to come to `servers`: a way to it that a test can break."""
    yield from (None for _ in _apache(port, {"advertised.listeners": f"PLAINTEXT://{servers}"}))


@dataclass(frozen=True)
class Opened:
    """A broker whose log lies in `directory`, and that `login` may be kept from by deny rules.

    `servers` let anybody in, as a superuser; `login.servers` ask for a password.
    """

    servers: str
    log: Path
    login: "Login"


@dataclass(frozen=True)
class Login:
    """Where a user of its own comes in, and aiokafka's arguments for that."""

    servers: str
    security: Mapping[str, str]


@contextmanager
def apache_opened(directory: Path) -> Iterator[Opened]:
    """Apache Kafka with its log in `directory`, where a test may damage it, and with an authorizer.

    Whoever comes without a password is a superuser; USER may do what no rule denies.
    """
    own, guarded = _free_ports(2)
    controller = _listeners(f"127.0.0.1:{own}", f"127.0.0.1:{_free_ports(1)[0]}")
    protocols = f"{PROPERTIES['listener.security.protocol.map']},SASL_PLAINTEXT:SASL_PLAINTEXT"
    login = f'{_LOGIN}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    settings = controller | {
        "listeners": f"{controller['listeners']},SASL_PLAINTEXT://127.0.0.1:{guarded}",
        "listener.security.protocol.map": protocols,
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": login,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "true",
        "log.dirs": str(directory / "log"),
    }
    security = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": USER,
        "sasl_plain_password": PASSWORD,
    }
    for broker in _apache(own, settings):
        yield Opened(broker.servers, directory / "log", Login(f"127.0.0.1:{guarded}", security))


@dataclass(frozen=True)
class Guarded:
    """A broker behind TLS and SASL: `servers` by protocol, and the file that its certificate is trusted by."""

    servers: Mapping[str, str]
    certificate: Path


USER, PASSWORD = "repoint", "correct horse battery staple"
_LOGIN = "org.apache.kafka.common.security"


@contextmanager
def apache_guarded(directory: Path) -> Iterator[Guarded]:
    """Apache Kafka that lets USER in by PASSWORD, with every mechanism that it has for one; certificates by openssl."""
    key, certificate, both = (directory / name for name in ("key.pem", "certificate.pem", "both.pem"))
    subprocess.run([
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
    ], check=True, capture_output=True)  # fmt: skip
    both.write_text(key.read_text() + certificate.read_text())
    own, *ports = _free_ports(4)
    servers = {
        protocol: f"127.0.0.1:{port}"
        for protocol, port in zip(("SSL", "SASL_SSL", "SASL_PLAINTEXT"), ports, strict=True)
    }
    controller = _listeners(f"127.0.0.1:{own}", f"127.0.0.1:{_free_ports(1)[0]}")
    settings = controller | {
        "listeners": ",".join([controller["listeners"], *(f"{name}://{at}" for name, at in servers.items())]),
        "listener.security.protocol.map": ",".join(
            [PROPERTIES["listener.security.protocol.map"], *(f"{name}:{name}" for name in servers)]
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(both),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
    }
    for name in ("sasl_ssl", "sasl_plaintext"):
        login = f'{_LOGIN}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        settings[f"listener.name.{name}.plain.sasl.jaas.config"] = login
        for mechanism in ("scram-sha-256", "scram-sha-512"):
            login = f"{_LOGIN}.scram.ScramLoginModule required;"
            settings[f"listener.name.{name}.{mechanism}.sasl.jaas.config"] = login
    users = [f"SCRAM-SHA-{bits}=[name={USER},password={PASSWORD}]" for bits in (256, 512)]
    for _ in _apache(own, settings, [word for user in users for word in ("--add-scram", user)]):
        yield Guarded(servers | {"PLAINTEXT": f"127.0.0.1:{own}"}, certificate)


def _apache(
    own_port: int | None = None, settings: Mapping[str, str] | None = None, formatted_with: Sequence[str] = ()
) -> Iterator[Broker]:
    classpath = f"{_fetch()}/*"
    with tempfile.TemporaryDirectory(prefix="repoint-kafka-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        free, controller = _free_ports(2)
        port = own_port or free
        properties = directory / "server.properties"
        own = _listeners(f"127.0.0.1:{port}", f"127.0.0.1:{controller}")
        settings = {**PROPERTIES, **own, "log.dirs": str(directory / "log"), **(settings or {})}
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        java = [*JAVA, *LOG, "-cp", classpath]
        subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(properties), *formatted_with],
            check=True, stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
        with (directory / "server.out").open("w+") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-c", KEEPER, *java, "kafka.Kafka", str(properties)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            with keeper:
                try:
                    _wait_for(port, keeper, directory / "server.out")
                    yield Broker(f"127.0.0.1:{port}", f"Apache Kafka {VERSION}, by this machine's Java")
                finally:
                    assert keeper.stdin is not None
                    keeper.stdin.close()
                    keeper.wait(30)


def _listeners(clients: str, controller: str) -> dict[str, str]:
    return {
        "listeners": f"PLAINTEXT://{clients},CONTROLLER://{controller}",
        "controller.quorum.voters": f"1@{controller}",
    }


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on; all held until the last is found, so that no two are the same."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def _wait_for(port: int, keeper: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if keeper.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Apache Kafka did not start:\n{log.read_text()[-4000:]}") from None
            time.sleep(0.1)
        else:
            return
