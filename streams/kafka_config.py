"""The brokers and how to reach them: addresses, encryption, credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sinks.credentials import is_loopback

PASSWORD_VARIABLE: Final = "TIDEWATCH_KAFKA_PASSWORD"  # noqa: S105 - the name, not the secret


class KafkaConfig(BaseModel):
    """The brokers and how to reach them. Secrets come from files or from the environment, never from here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap: str = Field("127.0.0.1:9092", description="Brokers as host:port, separated by commas.")
    group_prefix: str = Field(
        "tidewatch", min_length=1, max_length=100, description="Prefix of the consumer groups' names."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism, used with the two SASL protocols."
    )
    sasl_username: str | None = Field(None, description="SASL user; with oauth_token_url the client id.")
    sasl_password_file: Path | None = Field(
        None,
        description="File that holds the SASL password, or with oauth_token_url the client secret; "
        f"default: the variable {PASSWORD_VARIABLE}.",
    )
    oauth_token_file: Path | None = Field(
        None, description="OAUTHBEARER: file that holds the token, read anew for every connection."
    )
    oauth_token_url: str | None = Field(
        None, description="OAUTHBEARER: https address that gives a token for client credentials."
    )
    oauth_scope: str | None = Field(None, description="OAUTHBEARER: scope to ask oauth_token_url for.")
    ca_file: Path | None = Field(
        None,
        description="TLS: CA certificates (PEM) to trust, for brokers and oauth_token_url; default: the system's.",
    )
    cert_file: Path | None = Field(None, description="Mutual TLS: our certificate and its chain (PEM).")
    key_file: Path | None = Field(None, description="Mutual TLS: the unencrypted key of cert_file (PEM).")
    allow_plaintext: bool = Field(
        False, description="Allow an unencrypted connection to brokers that are not on this host."
    )
    enable_idempotence: bool = Field(
        True, description="Idempotent producer. Off for brokers without it (the embedded one)."
    )
    session_timeout_secs: float = Field(
        6.0, ge=1, le=300, description="After this silence of a worker its partitions move to another."
    )
    chunk_records: int = Field(1000, ge=1, le=20_000, description="Records handed over at once, at most.")

    @property
    def encrypted(self) -> bool:
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def authenticated(self) -> bool:
        """Whether SASL is used; a client certificate is apart from it."""
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each bootstrap broker; IPv6 hosts without brackets."""
        parts = [part.strip().rpartition(":") for part in self.bootstrap.split(",")]
        return [(host.strip("[]"), int(port)) for host, _, port in parts]

    def on_this_computer(self, bootstrap: str) -> KafkaConfig:
        """The same for the embedded broker: no encryption, no credentials, no idempotent producer."""
        unset = (
            *(
                "security_protocol",
                "sasl_mechanism",
                "sasl_username",
                "sasl_password_file",
                "oauth_token_file",
            ),
            *("oauth_token_url", "oauth_scope", "ca_file", "cert_file", "key_file"),
        )
        kept = self.model_dump(exclude=set(unset))
        return KafkaConfig.model_validate(kept | {"bootstrap": bootstrap, "enable_idempotence": False})

    @field_validator("bootstrap")
    @classmethod
    def _is_host_and_port(cls, bootstrap: str) -> str:
        for part in bootstrap.split(","):
            host, _, port = part.strip().rpartition(":")
            if not host or not (port.isascii() and port.isdigit() and int(port) < 65_536) or "@" in host:
                raise ValueError(
                    "a broker that is not host:port; write host:port, with commas between several"
                )
        return bootstrap

    @model_validator(mode="after")
    def _consistent(self) -> KafkaConfig:
        remote = [host for host, _ in self.addresses if not is_loopback(host)]
        if remote and not self.encrypted and not self.allow_plaintext:
            raise ValueError(
                f"an unencrypted connection to {remote[0]}; set security_protocol to SSL or SASL_SSL, "
                "or allow_plaintext = true if this network is trusted"
            )
        if not self.encrypted and (tls := self._given("ca_file", "cert_file", "key_file")):
            raise ValueError(
                f"{tls} with security_protocol {self.security_protocol}; set it to SSL or SASL_SSL, "
                f"or remove {tls}"
            )
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("one of cert_file and key_file; set both or none")
        self._check_sasl()
        return self

    def _check_sasl(self) -> None:
        oauth = self.authenticated and self.sasl_mechanism == "OAUTHBEARER"
        if not oauth and (given := self._given("oauth_token_file", "oauth_token_url", "oauth_scope")):
            raise ValueError(
                f"{given} without OAUTHBEARER; set security_protocol to SASL_SSL and sasl_mechanism to OAUTHBEARER"
            )
        if not self.authenticated and (given := self._given("sasl_username", "sasl_password_file")):
            raise ValueError(
                f"{given} with security_protocol {self.security_protocol}; set it to SASL_SSL, or remove {given}"
            )
        if oauth and (self.oauth_token_file is None) == (self.oauth_token_url is None):
            raise ValueError(
                "OAUTHBEARER without one source of tokens; set oauth_token_file or oauth_token_url"
            )
        if self.oauth_token_url is not None:
            url = urlsplit(self.oauth_token_url)
            if url.username or url.password:
                raise ValueError("credentials in oauth_token_url; use sasl_username and sasl_password_file")
            if not url.hostname or url.scheme not in ("https", "http"):
                raise ValueError("oauth_token_url is no address; write https://host/path")
            if url.scheme == "http" and not is_loopback(url.hostname):
                raise ValueError(f"an unencrypted connection to {url.hostname}; make oauth_token_url https")
        if self.authenticated and self.oauth_token_file is None and not self.sasl_username:
            raise ValueError(
                f"SASL without a user; set sasl_username, and sasl_password_file or {PASSWORD_VARIABLE}"
            )

    def _given(self, *names: str) -> str | None:
        return next((name for name in names if getattr(self, name) is not None), None)
