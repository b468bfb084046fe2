"""Why a broker cannot be used, in words: one connection as aiokafka makes it, and what its failure means.

aiokafka logs such errors and goes on trying; a program should say once what is wrong and what to do. Errors that
no retry can cure (certificates, credentials) end the attempt at once.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from sinks.credentials import CredentialError
from streams.kafka_config import PASSWORD_VARIABLE, KafkaConfig

REACH_CLIENT: Final = "tidewatch-reach"
CONNECT_SECS: Final = 5.0
_FIRST_PAUSE_SECS: Final = 0.02
_LONGEST_PAUSE_SECS: Final = 1.0
_PAUSE_AFTER_CUT_SECS: Final = 0.25
_CLOSE_SECS: Final = 1.0
_EXPIRED: Final = 10
_WRONG_NAME: Final = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""

_REFUSALS: Final = (
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
    IllegalSaslStateError,
    CredentialError,
)

DENIED: Final = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
"""A right is missing; each says which topic, group or transactional id, except for the cluster."""


class BrokerUnreachable(Exception):
    """No broker answered in time; says where and what to do next."""


class BrokerRefused(BrokerUnreachable):
    """The broker, or we, refused the connection for a reason that stays: certificate, credentials, settings."""


async def reach(kafka: KafkaConfig, settings: dict[str, Any], deadline: float) -> None:
    """Return when one of the addresses serves us; ``settings`` are ``client.client_settings``'s.

    Raises:
        BrokerRefused: encryption or credentials are refused.
        BrokerUnreachable: none answers by ``deadline`` (``time.monotonic``).
    """
    settings = {name: value for name, value in settings.items() if name != "bootstrap_servers"}
    pause_secs = _FIRST_PAUSE_SECS
    while True:
        for host, port in kafka.addresses:
            try:
                await _connect(host, port, settings)
                return
            except (KafkaError, OSError, TimeoutError, CredentialError) as error:
                meaning = _meaning(kafka, error)
                if meaning is not None and _stays(error):
                    raise BrokerRefused(f"{host}:{port}: {meaning}") from error
                last = f"{host}:{port}: {meaning}"
                if meaning is None:
                    last = (
                        f"no broker answers at {host}:{port} ({str(error) or type(error).__name__}); "
                        "check kafka.bootstrap, or start one with `tidewatch up`"
                    )
                else:  # connected and cut off: no reason to hammer
                    pause_secs = max(pause_secs, _PAUSE_AFTER_CUT_SECS)
        if time.monotonic() >= deadline:
            raise BrokerUnreachable(last)
        await asyncio.sleep(pause_secs)
        pause_secs = min(2 * pause_secs, _LONGEST_PAUSE_SECS)


async def _connect(host: str, port: int, settings: dict[str, Any]) -> None:
    """Connect, authenticate, and ask one question, which brokers answer only to whom they have let in."""
    opened = False

    def was_open(*_: object) -> None:
        nonlocal opened
        opened = True

    connection = AIOKafkaConnection(
        host,
        port,
        client_id=REACH_CLIENT,
        request_timeout_ms=int(CONNECT_SECS * 1000),
        on_close=was_open,
        **settings,
    )
    try:
        async with asyncio.timeout(CONNECT_SECS):
            await connection.connect()
            answer = await connection.send(MetadataRequest([]))
            if not answer.brokers and settings.get("sasl_mechanism") == "OAUTHBEARER":
                # What was read is the broker's "invalid token", which aiokafka does not wait for.
                raise SaslAuthenticationFailed("the broker does not accept it; see the broker's log for why")
    finally:
        closed = connection.close()
        if opened:  # a program that ends at once would leave the socket to the garbage collector
            await asyncio.wait([closed], timeout=_CLOSE_SECS)


def _stays(error: BaseException) -> bool:
    causes = _causes(error)
    return any(
        isinstance(cause, _REFUSALS)
        or (
            isinstance(cause, ssl.SSLError)
            and not isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
        )
        for cause in causes
    )


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    here: BaseException | None = error
    while here is not None and here not in found:
        found.append(here)
        here = here.__cause__
    return found


def _meaning(kafka: KafkaConfig, error: BaseException) -> str | None:
    """What the error says about the settings, and what to do; None if it says nothing about them."""
    for cause in _causes(error):
        match cause:
            case CredentialError():
                return str(cause)
            case ssl.SSLCertVerificationError():
                return _certificate(cause)
            case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
                return _not_tls(kafka)
            case ssl.SSLError():
                return _tls_alert(kafka, cause)
            case UnsupportedSaslMechanismError():
                return (
                    f"the broker does not offer SASL {kafka.sasl_mechanism} ({_text(cause)}); "
                    "set kafka.sasl_mechanism to one that it offers"
                )
            case SaslAuthenticationFailed():
                return _refused_user(kafka, cause)
            case IllegalSaslStateError():
                return (
                    "this port of the broker has no SASL; use another, or set kafka.security_protocol to SSL"
                )
            case ConnectionResetError() if (
                kafka.encrypted and cause is error
            ):  # before there was a connection
                return _not_tls(kafka)
            case asyncio.IncompleteReadError() | ConnectionResetError():
                return _cut_off(kafka)
    return None


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _WRONG_NAME:
        return (
            f"the broker's certificate is for another name ({error.verify_message}); "
            "use the name of the certificate in kafka.bootstrap, and in the broker's advertised.listeners"
        )
    if error.verify_code == _EXPIRED:
        return "the broker's certificate has expired; renew it on the broker"
    return (
        f"the broker's certificate is not trusted ({error.verify_message}); "
        "set kafka.ca_file to the certificate of the authority that signed it"
    )


def _tls_alert(kafka: KafkaConfig, error: ssl.SSLError) -> str:
    reason = error.reason or "TLS failed"
    if reason == "WRONG_VERSION_NUMBER" or "RECORD_LAYER" in reason:
        return _not_tls(kafka)
    if "CERTIFICATE" in reason:
        if kafka.cert_file is None:
            return (
                f"the broker asks for a client certificate ({reason}); set kafka.cert_file and kafka.key_file"
            )
        return f"the broker does not accept our certificate ({reason}); see who signed kafka.cert_file"
    return f"TLS failed: {reason}; check kafka.security_protocol and the broker's TLS settings"


def _not_tls(kafka: KafkaConfig) -> str:
    other = "PLAINTEXT" if kafka.security_protocol == "SSL" else "SASL_PLAINTEXT"
    return (
        f"the broker ended the TLS handshake, got kafka.security_protocol {kafka.security_protocol}; "
        f"this port may be one without TLS: use that of the broker's TLS listener, or {other} on this computer"
    )


def _cut_off(kafka: KafkaConfig) -> str:
    if not kafka.encrypted:
        expected = "SASL_SSL or SSL"
    elif not kafka.authenticated:
        expected = "SASL_SSL"
    else:
        return "the broker closes the connection; see the broker's log for why"
    return (
        f"the broker closes the connection at our first request, got kafka.security_protocol "
        f"{kafka.security_protocol}; it may expect another: set it to {expected}"
    )


def _refused_user(kafka: KafkaConfig, error: KafkaError) -> str:
    if kafka.sasl_mechanism == "OAUTHBEARER":
        return f"the OAuth token is refused: {_text(error)}"
    given = "kafka.sasl_password_file" if kafka.sasl_password_file else PASSWORD_VARIABLE
    return (
        f"the broker refuses user {kafka.sasl_username!r} or its password ({kafka.sasl_mechanism}); "
        f"check kafka.sasl_username and {given}"
    )


def _text(error: KafkaError) -> str:
    return str(error.args[0]) if error.args else type(error).__name__
