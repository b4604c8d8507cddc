"""What on this machine stands in the way of a start, besides what the files say: folders, keys and permissions."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from proxy.config import Config
from proxy.errors import StartupError
from proxy.tls import CertificateError, load_pair

OPEN_BITS = stat.S_IWGRP | stat.S_IRWXO
"""A data folder holds hashes of keys and the control token: nobody else's to read, nor a group's to write."""


def startup_checks(config: Config) -> list[StartupError]:
    """Everything that is wrong, each with its remedy. Makes and changes nothing."""
    return [*_data_folder(config.data_dir), *_certificate(config)]


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


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
