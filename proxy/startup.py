"""What on this machine stands in the way of a start, besides what the files say: folders, keys and permissions."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from proxy.config import Config, Provider
from proxy.errors import StartupError
from proxy.settings import is_key
from proxy.tls import CertificateError, load_pair, trusting

KEY_BYTES_MAX = 65_536

OPEN_BITS = stat.S_IWGRP | stat.S_IRWXO
"""A data folder holds hashes of keys and the control token: nobody else's to read, nor a group's to write."""


def startup_checks(config: Config) -> list[StartupError]:
    """Everything that is wrong, each with its remedy. Makes and changes nothing."""
    return [*_data_folder(config.data_dir), *_certificate(config), *_providers(config)]


def with_keys(config: Config) -> Config:
    """With the providers' keys that stand in files of their own. Raises StartupError."""
    return config.model_copy(
        update={"providers": {name: _with_key(name, each) for name, each in config.providers.items()}}
    )


def _data_folder(folder: Path) -> Iterator[StartupError]:
    if not folder.exists():
        parent = next(each for each in folder.parents if each.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            yield StartupError(
                f"the data folder {folder} cannot be made in {parent}", "make it yourself, or set data_dir"
            )
    elif not folder.is_dir():
        yield StartupError(f"data_dir {folder} is a file", "name a folder")
    elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield StartupError(
            f"the data folder {folder} cannot be written by user {os.geteuid()}",
            "give it to that user, or set data_dir",
        )
    elif _mode(folder) & OPEN_BITS:
        yield StartupError(
            f"the data folder {folder} is open to others (mode {_mode(folder):o})", f"chmod 700 {folder}"
        )


def _certificate(config: Config) -> Iterator[StartupError]:
    if config.tls is None:
        return
    for name, file in (("cert_file", config.tls.cert_file), ("key_file", config.tls.key_file)):
        if not os.access(file, os.R_OK) or file.is_dir():
            reason = "cannot be read" if file.exists() else "does not exist"
            yield StartupError(f"tls.{name}: {file} {reason}", "name a PEM file that this user may read")
            return
    key = config.tls.key_file
    if _mode(key) & (stat.S_IRWXG | stat.S_IRWXO):
        yield StartupError(f"tls.key_file: others may read {key} (mode {_mode(key):o})", f"chmod 600 {key}")
    try:
        load_pair(config.tls.cert_file, key)
    except CertificateError as error:
        yield StartupError(f"tls: {error}", "name a certificate chain and its own private key, both PEM")


def _providers(config: Config) -> Iterator[StartupError]:
    for name, provider in config.providers.items():
        if provider.api_key_file is None and provider.ca_file is None:
            continue
        try:
            _with_key(name, provider)
        except StartupError as error:
            yield error
        try:
            trusting(provider.ca_file, verify=provider.tls_verify)
        except CertificateError as error:
            yield StartupError(
                f"providers.{name}.ca_file: {error}",
                "name a PEM file of certificates that this user may read",
            )


def _with_key(name: str, provider: Provider) -> Provider:
    file = provider.api_key_file
    return provider if file is None else provider.model_copy(update={"api_key": _key_in(file, name)})


def _key_in(file: Path, provider: str) -> SecretStr:
    """Raises StartupError, without a word of what the file holds."""
    place = f"providers.{provider}.api_key_file"
    if not os.access(file, os.R_OK) or not file.is_file():
        reason = "cannot be read" if os.access(file, os.F_OK) else "does not exist"
        raise StartupError(f"{place}: {file} {reason}", "name a file that this user may read")
    if _mode(file) & (stat.S_IRWXG | stat.S_IRWXO):
        raise StartupError(f"{place}: others may read {file} (mode {_mode(file):o})", f"chmod 600 {file}")
    with file.open("rb") as opened:
        key = opened.read(KEY_BYTES_MAX).decode("utf-8-sig", "replace").strip()
    if not key:
        raise StartupError(f"{place}: {file} is empty", "write the key into it, and nothing else")
    if not is_key(key):
        raise StartupError(
            f"{place}: {file} holds a character that no header may carry",
            "write the key into it, and nothing else",
        )
    return SecretStr(key)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
