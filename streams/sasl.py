"""What we show to brokers: passwords, and OAuth tokens from a file or from a token endpoint.

Everything is read when a connection is made, so that a rotated password file or token needs no restart. aiokafka
does not authenticate again within a connection: a broker with ``connections.max.reauth.ms`` closes it when the
token's time is over, and the next connection carries a new one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

import aiohttp
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import SaslAuthenticationFailed

from sinks.credentials import CredentialError, read_secret, tls_context
from streams.kafka_config import PASSWORD_VARIABLE, KafkaConfig

TOKEN_VARIABLE: Final = "TIDEWATCH_KAFKA_OAUTH_TOKEN"  # noqa: S105 - the name, not the secret
TOKEN_TIMEOUT_SECS: Final = 10.0
USED_RATIO: Final = 0.8
"""A token is asked for anew when this part of its life is over."""
DEFAULT_LIFE_SECS: Final = 300.0
"""Of a token whose endpoint does not say (RFC 6749 only recommends ``expires_in``)."""


def sasl_settings(kafka: KafkaConfig) -> dict[str, Any]:
    """The SASL arguments of every aiokafka client; they hold the password, so never log them.

    Raises:
        CredentialError: there is no password, or its file cannot be used.
    """
    if not kafka.authenticated:
        return {}
    settings: dict[str, Any] = {"sasl_mechanism": kafka.sasl_mechanism}
    if kafka.sasl_mechanism == "OAUTHBEARER":
        return settings | {"sasl_oauth_token_provider": _provider(kafka)}
    return settings | {"sasl_plain_username": kafka.sasl_username, "sasl_plain_password": _password(kafka)}


def _provider(kafka: KafkaConfig) -> AbstractTokenProvider:
    if kafka.oauth_token_file is not None:
        return FileTokens(kafka.oauth_token_file)
    return ClientCredentials(kafka)


def _password(kafka: KafkaConfig) -> str:
    secret = read_secret("kafka.sasl_password_file", kafka.sasl_password_file, PASSWORD_VARIABLE)
    if secret is None:
        raise CredentialError(
            f"SASL without a password; set kafka.sasl_password_file or the variable {PASSWORD_VARIABLE}"
        )
    return secret.get_secret_value()


class FileTokens(AbstractTokenProvider):  # type: ignore[misc]
    """The token of a file that somebody else keeps fresh, such as a projected service account token."""

    def __init__(self, path: Path) -> None:
        self._path = path
        read_token(path)  # say at once what would otherwise fail in a background task

    async def token(self) -> str:
        """Raises SaslAuthenticationFailed, which aiokafka treats as any failed connection: it tries again."""
        try:
            return read_token(self._path)
        except CredentialError as error:
            raise SaslAuthenticationFailed(str(error)) from None


def read_token(path: Path) -> str:
    """The token in ``path``.

    Raises:
        CredentialError: it cannot be read, or it says itself that its time is over.
    """
    secret = read_secret("kafka.oauth_token_file", path, TOKEN_VARIABLE)
    assert secret is not None  # noqa: S101 - a path was given
    token = secret.get_secret_value()
    expires_at = _expiry(token)
    if expires_at is not None and expires_at <= time.time():
        ago_secs = time.time() - expires_at
        raise CredentialError(
            f"kafka.oauth_token_file: the token in {path} expired {ago_secs:.0f} s ago; see who renews the file"
        )
    return token


def _expiry(token: str) -> float | None:
    """When a JWT ends, in seconds since 1970; None if it does not say, or is none. Nothing is verified here."""
    try:
        claims = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    return float(found) if isinstance(found, (int, float)) else None


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens from an endpoint, for a client id and secret (RFC 6749, section 4.4)."""

    def __init__(self, kafka: KafkaConfig) -> None:
        assert kafka.oauth_token_url is not None  # noqa: S101 - the configuration checks it
        assert kafka.sasl_username is not None  # noqa: S101
        self._kafka = kafka
        self._url = kafka.oauth_token_url
        self._context: ssl.SSLContext = tls_context("kafka", kafka.ca_file, kafka.cert_file, kafka.key_file)
        _password(kafka)  # say at once what would otherwise fail in a background task
        self._token = ""
        self._good_until = 0.0
        self._asking: asyncio.Lock | None = None

    async def token(self) -> str:
        """Raises SaslAuthenticationFailed, which aiokafka treats as any failed connection: it tries again."""
        self._asking = self._asking or asyncio.Lock()  # of the loop that the client runs in
        async with self._asking:
            if time.monotonic() >= self._good_until:
                try:
                    self._token, life_secs = await self._ask()
                except CredentialError as error:
                    raise SaslAuthenticationFailed(str(error)) from None
                self._good_until = time.monotonic() + USED_RATIO * life_secs
            return self._token

    async def _ask(self) -> tuple[str, float]:
        form = {"grant_type": "client_credentials"}
        if self._kafka.oauth_scope is not None:
            form["scope"] = self._kafka.oauth_scope
        login = f"{quote_plus(self._kafka.sasl_username or '')}:{quote_plus(_password(self._kafka))}"
        headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TOKEN_TIMEOUT_SECS)) as session,
                session.post(
                    self._url, data=form, headers=headers, ssl=self._context, allow_redirects=False
                ) as answer,
            ):
                if answer.status != 200:
                    raise CredentialError(
                        f"{self._url} answers {answer.status} {answer.reason}, expected 200 and a token; "
                        "check kafka.sasl_username, the secret and kafka.oauth_scope"
                    )
                body = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            what = (
                type(error).__name__ if isinstance(error, ValueError) else str(error) or "no answer in time"
            )
            raise CredentialError(f"no token from {self._url}: {what}; check kafka.oauth_token_url") from None
        token = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(token, str) or not token:
            raise CredentialError(f"{self._url} answers without access_token; check kafka.oauth_token_url")
        life_secs = body.get("expires_in")
        return token, float(life_secs) if isinstance(life_secs, (int, float)) else DEFAULT_LIFE_SECS
