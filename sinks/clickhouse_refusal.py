"""Why a ClickHouse server does not let us in, in words: errors that the settings must cure, and waiting cannot."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.clickhouse_config import PASSWORD_VARIABLE, ClickHouseConfig

_LOGIN_CODES: Final = frozenset({192, 193, 194, 516})
"""UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, AUTHENTICATION_FAILED."""
_EXPIRED: Final = 10
_WRONG_NAME: Final = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


def refusal(config: ClickHouseConfig, error: ClickHouseError) -> str | None:
    """What is refused and what to do; None for errors of another kind."""
    if getattr(error, "code", None) in _LOGIN_CODES:
        given = "clickhouse.password_file" if config.password_file else PASSWORD_VARIABLE
        return (
            f"{config.address}: the server refuses user {config.username!r} or its password; "
            f"check clickhouse.username and {given}"
        )
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError) and (meaning := _tls(cause)) is not None:
            return f"{config.address}: {meaning}"
    return None


def _tls(error: ssl.SSLError) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _WRONG_NAME:
            return (
                f"the server's certificate is for another name ({error.verify_message}); "
                "set clickhouse.host to the name of the certificate"
            )
        if error.verify_code == _EXPIRED:
            return "the server's certificate has expired; renew it on the server"
        return (
            f"the server's certificate is not trusted ({error.verify_message}); "
            "set clickhouse.ca_file to the certificate of the authority that signed it"
        )
    reason = error.reason or ""
    if reason == "WRONG_VERSION_NUMBER":
        return (
            "the server does not speak TLS on this port; set clickhouse.port to that of its https interface"
        )
    if "CERTIFICATE" in reason:
        return (
            f"the server does not accept our certificate ({reason}); check clickhouse.cert_file and key_file"
        )
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Every error behind this one; urllib3 keeps some of them in ``reason`` and ``args``."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        here = waiting.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        yield here
        behind = (here.__cause__, here.__context__, getattr(here, "reason", None), *here.args)
        waiting += [item for item in behind if isinstance(item, BaseException)]
