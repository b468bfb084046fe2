"""Secrets and certificates of connections: from files or the environment, read when a connection is made.

A secret never comes from the configuration itself or from a command line, and no error shows one.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from pathlib import Path
from typing import NoReturn

from pydantic import SecretStr

MAX_SECRET_BYTES = 64 * 1024


class CredentialError(Exception):
    """What a connection shows or is shown cannot be used; says which setting and why, never a secret."""


def read_secret(setting: str, path: Path | None, variable: str) -> SecretStr | None:
    """The secret of the file named by ``setting``, else of the environment's ``variable``, else None.

    Surrounding white space is not part of a secret: editors end files with a line break.

    Raises:
        CredentialError: the file cannot be read, can be read by others, or is empty.
    """
    if path is None:
        value = os.environ.get(variable, "").strip()
        return SecretStr(value) if value else None
    text = _read_private(setting, path).strip()
    if not text:
        raise CredentialError(f"{setting}: {path} is empty; write the secret into it")
    return SecretStr(text)


def _read_private(setting: str, path: Path) -> str:
    require_private(setting, path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        if len(content) > MAX_SECRET_BYTES:
            raise CredentialError(
                f"{setting}: {path} is larger than {MAX_SECRET_BYTES} bytes; name another file"
            )
        return content.decode()
    except OSError as error:
        raise _unreadable(setting, path, error) from None
    except UnicodeDecodeError:  # its text would show a piece of the secret
        raise CredentialError(f"{setting}: {path} is not UTF-8 text; write the secret as text") from None


def require_private(setting: str, path: Path) -> None:
    """Refuse a secret file of our own that others can read; a file of another owner is that owner's decision.

    Orchestrators mount secrets as files of root, often with mode 0444, into containers where nobody else is:
    the process could not correct that mode, so it is not refused. libpq treats private keys in a similar way.

    Raises:
        CredentialError: others can read it, or it is not there.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(setting, path, error) from None
    if found.st_uid == os.geteuid() and found.st_mode & 0o077:
        raise CredentialError(
            f"{setting}: {path} has mode {found.st_mode & 0o777:04o}, so others can read the secret; "
            f"run: chmod 600 {path}"
        )


def tls_context(
    section: str, ca_file: Path | None, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """A client's TLS: certificate and host name of the server are verified, TLS 1.2 or newer.

    ``ca_file`` replaces the system's authorities; ``cert_file`` and ``key_file`` are shown to servers that ask.
    ``section`` is where the settings stand, for messages.

    Raises:
        CredentialError: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except ssl.SSLError:
        raise CredentialError(f"{section}.ca_file: {ca_file} holds no certificate in PEM; name one") from None
    except OSError as error:
        raise _unreadable(f"{section}.ca_file", ca_file, error) from None
    if cert_file is not None and key_file is not None:
        require_private(f"{section}.key_file", key_file)
        try:
            context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
        except ssl.SSLError as error:
            raise CredentialError(
                f"{section}.cert_file and {section}.key_file: {cert_file} and {key_file} are no "
                f"certificate and its unencrypted key in PEM ({error.reason or 'not PEM'}); "
                "name a pair that belongs together"
            ) from None
        except OSError as error:
            raise _unreadable(f"{section}.cert_file", cert_file, error) from None
    return context


def _no_passphrase() -> NoReturn:
    """OpenSSL would ask at the terminal, and a service would wait for ever."""
    raise CredentialError("key_file: the key is encrypted; name an unencrypted one with mode 0600")


def _unreadable(setting: str, path: Path | None, error: OSError) -> CredentialError:
    return CredentialError(
        f"{setting}: {path} cannot be read ({error.strerror}); check the path and its mode"
    )


def is_loopback(host: str) -> bool:
    """Whether a connection to ``host`` stays on this computer; a name is only believed if it is localhost."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
