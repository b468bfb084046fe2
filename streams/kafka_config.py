"""The brokers and how to reach them: addresses, encryption, credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class KafkaConfig(BaseModel):
    """The brokers and how to reach them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap: str = Field("127.0.0.1:9092", description="Brokers as host:port, separated by commas.")
    group_prefix: str = Field(
        "tidewatch", min_length=1, max_length=100, description="Prefix of the consumer groups' names."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism, used with the two SASL protocols."
    )
    sasl_username: str | None = Field(None, description="SASL user.")
    sasl_password_file: Path | None = Field(None, description="File that holds the SASL password.")
    ca_file: Path | None = Field(None, description="CA certificates (PEM) to trust; default: the system's.")
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

    @model_validator(mode="after")
    def _encrypted_off_loopback(self) -> KafkaConfig:
        hosts = [part.strip().rsplit(":", 1)[0].strip("[]") for part in self.bootstrap.split(",")]
        remote = [h for h in hosts if not (h in ("localhost", "::1") or h.startswith("127."))]
        if remote and self.security_protocol in ("PLAINTEXT", "SASL_PLAINTEXT") and not self.allow_plaintext:
            raise ValueError(
                f"an unencrypted connection to {remote[0]}; set security_protocol to SSL or SASL_SSL, "
                "or allow_plaintext = true if this network is trusted"
            )
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password_file):
            raise ValueError("SASL without credentials; set sasl_username and sasl_password_file")
        return self
