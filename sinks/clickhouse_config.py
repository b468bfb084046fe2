"""How to reach ClickHouse: a server, or the embedded engine (chDB), by configuration only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

PASSWORD_VARIABLE: Final = "TIDEWATCH_CLICKHOUSE_PASSWORD"  # noqa: S105 - the name, not the secret
SettingName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class ClickHouseConfig(BaseModel):
    """Where rows go. The password comes from a file or from the environment, never from here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interface: Literal["chdb", "http", "https"] = Field(
        "chdb", description="chdb: the engine in the record worker's process. http, https: a server."
    )
    path: Path = Field(
        Path("clickhouse"), description="chdb: folder of the data; relative to state_dir unless absolute."
    )
    host: str = Field("127.0.0.1", min_length=1, description="Server: host name or address.")
    port: int | None = Field(
        None, ge=1, le=65_535, description="Server: port; default 8123, with https 8443."
    )
    database: str = Field(
        "tidewatch", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$", description="Database that holds the tables."
    )
    username: str = Field("default", description="Server: user.")
    password_file: Path | None = Field(
        None, description=f"Server: file that holds the password; default: the variable {PASSWORD_VARIABLE}."
    )
    ca_file: Path | None = Field(None, description="https: CA certificates (PEM); default: the system's.")
    allow_plaintext: bool = Field(False, description="Allow http to a server that is not on this host.")
    connect_timeout_secs: int = Field(5, ge=1, le=300, description="Server: longest wait for a connection.")
    read_timeout_secs: int = Field(30, ge=1, le=3600, description="Server: longest wait for an answer.")
    retry_after_secs: float = Field(
        2.0, gt=0, le=600, description="Wait before a batch that could not be stored is written again."
    )
    queue_batches: int = Field(4, ge=1, le=1000, description="Batches that wait for the store, at most.")
    insert_settings: dict[SettingName, str | int | float | bool] = Field(
        default_factory=dict, description="ClickHouse settings added to every insert."
    )

    @model_validator(mode="after")
    def _encrypted_off_loopback(self) -> ClickHouseConfig:
        local = self.host in ("localhost", "::1") or self.host.startswith("127.")
        if self.interface == "http" and not local and not self.allow_plaintext:
            raise ValueError(
                f"an unencrypted connection to {self.host}; set interface to https, "
                "or allow_plaintext = true if this network is trusted"
            )
        if self.interface == "http" and self.ca_file is not None:
            raise ValueError("ca_file with interface http; set interface to https")
        return self

    @property
    def embedded(self) -> bool:
        return self.interface == "chdb"

    @property
    def address(self) -> str:
        """Where it is, for messages; without secrets."""
        if self.embedded:
            return f"chdb:{self.path}"
        return f"{self.interface}://{self.host}:{self.server_port}"

    @property
    def server_port(self) -> int:
        return self.port or (8443 if self.interface == "https" else 8123)

    def at(self, state_dir: Path) -> ClickHouseConfig:
        """The same with an absolute ``path``: relative ones are below ``state_dir``."""
        return self.model_copy(update={"path": (state_dir / self.path).resolve()})

    def password(self) -> SecretStr:
        """The password, read now; empty when none is configured."""
        if self.password_file is not None:
            return SecretStr(self.password_file.read_text(encoding="utf-8").strip())
        return SecretStr(os.environ.get(PASSWORD_VARIABLE, ""))

    def client_options(self) -> dict[str, Any]:
        """Arguments of ``clickhouse_connect.get_client``; holds the password, so never log it."""
        if self.embedded:
            return {"interface": "chdb", "path": str(self.path)}
        options: dict[str, Any] = {
            "interface": self.interface,
            "host": self.host,
            "port": self.server_port,
            "username": self.username,
            "password": self.password().get_secret_value(),
            "connect_timeout": self.connect_timeout_secs,
            "send_receive_timeout": self.read_timeout_secs,
            "query_retries": 0,
            "autogenerate_session_id": False,
            "dedicated_pool": True,
            "client_name": "tidewatch",
        }
        if self.ca_file is not None:
            options["ca_cert"] = str(self.ca_file)
        return options
