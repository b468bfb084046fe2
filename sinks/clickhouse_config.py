"""How to reach ClickHouse: a server, or the embedded engine (chDB), by configuration only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from sinks.credentials import is_loopback, read_secret, tls_context

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
    cert_file: Path | None = Field(
        None, description="https: our certificate and its chain (PEM), for servers that ask for one."
    )
    key_file: Path | None = Field(None, description="https: the unencrypted key of cert_file (PEM).")
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
        if self.interface == "http" and not is_loopback(self.host) and not self.allow_plaintext:
            raise ValueError(
                f"an unencrypted connection to {self.host}; set interface to https, "
                "or allow_plaintext = true if this network is trusted"
            )
        for name in ("ca_file", "cert_file", "key_file"):
            if self.interface != "https" and getattr(self, name) is not None:
                raise ValueError(
                    f"{name} with interface {self.interface}; set interface to https, or remove {name}"
                )
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("one of cert_file and key_file; set both or none")
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
        """The password, read now; empty when none is configured.

        Raises:
            CredentialError: the file cannot be used.
        """
        secret = read_secret("clickhouse.password_file", self.password_file, PASSWORD_VARIABLE)
        return secret or SecretStr("")

    def client_options(self) -> dict[str, Any]:
        """Arguments of ``clickhouse_connect.get_client``; holds the password, so never log it.

        Raises:
            CredentialError: a file of the settings cannot be used.
        """
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
        if self.interface == "https":
            # clickhouse-connect takes paths; this says first, and plainly, which of the files is not usable.
            tls_context("clickhouse", self.ca_file, self.cert_file, self.key_file)
            files = {"ca_cert": self.ca_file, "client_cert": self.cert_file, "client_cert_key": self.key_file}
            options |= {name: str(path) for name, path in files.items() if path is not None}
        return options
