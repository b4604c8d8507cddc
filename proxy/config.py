"""What the process runs with: config.yaml and rules.yaml, found, read, completed from the environment and checked."""

import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from pricing import catalog
from pricing.book import PriceBook
from pricing.document import BYTES_MAX, Document, DocumentError, Problem, check, nearest, parse
from pricing.overrides import NONE, OverriddenBook, Overrides
from pricing.overrides_load import load_overrides
from proxy import environment, snapshots
from proxy.environment import environ
from proxy.settings import SAMPLE, Alerts, Config, Limits, OnDisconnect, Provider, Tls
from rules.policy import Policy, load_policy

__all__ = [
    "Alerts",
    "Config",
    "Limits",
    "LoadedConfig",
    "OnDisconnect",
    "Provider",
    "Tls",
    "default_file",
    "environ",
    "load_config",
    "load_price_overrides",
    "load_prices",
    "load_rules",
    "read_text",
    "redacted",
]

DEFAULT_FILE = "config.yaml"
REDACTED, EMPTY = "[redacted]", "[empty: not configured]"
T = TypeVar("T")
_NO_RULES = "version: 1\n"


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A valid configuration. Its paths are absolute: those in the file are relative to the file's folder."""

    config: Config
    path: Path
    folder: Path
    warnings: tuple[str, ...]
    rules_file_is_named: bool
    environ: Mapping[str, str] = field(repr=False)

    @property
    def data_dir(self) -> Path:
        return self.config.data_dir


def default_file(environ: Mapping[str, str]) -> Path:
    """Where `-c` names none: by SPENDGATE_CONFIG, else config.yaml here."""
    return Path(environ.get(environment.CONFIG) or DEFAULT_FILE)


def load_config(path: Path, environ: Mapping[str, str]) -> LoadedConfig:
    """Raises DocumentError with everything that is wrong."""
    folder = path.absolute().parent
    text = read_text(path, "name another file with -c, or write one with `spendgate init`")
    document = parse(text, file=path.name, environ=environ)
    document, problems = environment.complete_config(document, environ)
    config = _with_problems(problems, document, partial(check, Config))
    warnings = (
        *document.warnings,
        *_warnings(config),
        *_loose_secrets(path, document),
        *environment.without_effect(environ),
    )
    is_named = "rules_file" in config.model_fields_set
    return LoadedConfig(_absolute(config, folder), path, folder, warnings, is_named, environ)


def load_rules(loaded: LoadedConfig) -> Policy:
    """The policy of rules.yaml. Raises DocumentError with everything that is wrong. A file that is only there by
    default may be missing: then there are no rules, and a warning says so."""
    path, document = loaded.config.rules_file, None
    if loaded.rules_file_is_named or path.exists():
        text = read_text(path, "write one with `spendgate init`, or correct rules_file")
        document = parse(text, file=path.name, environ=loaded.environ)
    else:
        warning = f"{path.name}: not found, so nothing is limited; write one with `spendgate init`"
        document = Document(path.name, _NO_RULES, {"version": 1}, warnings=(warning,))
    document, problems = environment.complete_rules(document, loaded.environ)
    policy = _with_problems(problems, document, load_policy)
    problems = tuple(_astray(policy, document, loaded.config))
    if problems:
        raise DocumentError(path.name, problems)
    return policy


def load_prices(loaded: LoadedConfig) -> OverriddenBook:
    """The catalogue, with the snapshot of `spendgate prices sync` where there is one, and before it what prices_file
    says. Raises DocumentError with everything that is wrong."""
    book, path = catalog.book(snapshots.in_force(loaded.data_dir).values()), loaded.config.prices_file
    return OverriddenBook(book, NONE if path is None else load_price_overrides(loaded, path, book))


def load_price_overrides(loaded: LoadedConfig, path: Path, catalogue: PriceBook) -> Overrides:
    """prices_file as it is now, before that catalogue. Raises DocumentError with everything that is wrong."""
    text = read_text(path, "write one, or take prices_file out of the configuration")
    document = parse(text, file=path.name, environ=loaded.environ)
    providers = {loaded.config.price_provider(name) for name in loaded.config.providers}
    return load_overrides(document, catalogue, providers=providers)


def redacted(config: Config) -> dict[str, Any]:
    """The configuration as plain values in the order of the file, without its secrets and what is built in."""
    plain: dict[str, Any] = _without_secrets(config.model_dump(exclude_none=True))
    del plain["providers"][SAMPLE]
    return plain


def _with_problems(problems: tuple[Problem, ...], document: Document, make: Callable[[Document], T]) -> T:
    """What is made of a document, unless there are problems: then all of them, those of making it too."""
    try:
        made = make(document)
    except DocumentError as error:
        raise DocumentError(document.file, (*problems, *error.problems)) from None
    if problems:
        raise DocumentError(document.file, problems)
    return made


def read_text(path: Path, remedy: str) -> str:
    """A file that people edit, of a size that can be read. Raises DocumentError with the remedy."""
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX * 4 + 1)  # a character has up to four bytes
        return content.decode("utf-8-sig")
    except OSError as error:
        message = f"cannot be read: {error.strerror} ({path.absolute()})"
    except UnicodeDecodeError as error:
        message, remedy = f"is not UTF-8 text: byte {error.start} cannot be read", "save it as UTF-8"
    raise DocumentError(path.name, (Problem("", message, remedy),))


def _absolute(config: Config, folder: Path) -> Config:
    tls = config.tls
    if tls is not None:
        tls = tls.model_copy(update={"cert_file": folder / tls.cert_file, "key_file": folder / tls.key_file})
    providers = {
        name: provider.model_copy(
            update={
                key: folder / file
                for key, file in (("api_key_file", provider.api_key_file), ("ca_file", provider.ca_file))
                if file is not None
            }
        )
        for name, provider in config.providers.items()
    }
    return config.model_copy(
        update={
            "providers": providers,
            "rules_file": folder / config.rules_file,
            "prices_file": None if config.prices_file is None else folder / config.prices_file,
            "data_dir": folder / config.data_dir,
            "tls": tls,
        }
    )


def _warnings(config: Config) -> Iterator[str]:
    own = {name: provider for name, provider in config.providers.items() if name != SAMPLE}
    if not own:
        yield f'no provider is configured: every call goes to the built-in provider "{SAMPLE}"'
    for name, provider in own.items():
        if not provider.configured:
            yield f"providers.{name}.api_key: is empty; calls to it are answered 503 until it is set"
        if provider.is_plain_over_network:
            yield f"providers.{name}.base_url: keys and prompts cross the network unencrypted; use https"
        if not provider.tls_verify:
            yield (
                f"providers.{name}.tls_verify: DANGER: is false; whoever stands in between can pose as this provider, "
                "take its key, read every prompt and change every answer and its cost; name its authority in ca_file"
            )
    if config.prices.is_plain_over_network:
        yield "prices.url: whoever stands in between sets the prices; use https"
    if not config.alerts.enabled:
        yield "alerts.enabled: is false; no alert is sent, whatever is spent"


def _loose_secrets(path: Path, document: Document) -> Iterator[str]:
    """Secrets written out in a file that others may read."""
    if not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return
    for name, provider in (document.data.get("providers") or {}).items():
        held = {"api_key": provider.get("api_key"), "proxy": "@" in (provider.get("proxy") or "")}
        for key, is_secret in held.items():
            if is_secret and ("providers", name, key) not in document.variables:
                yield (
                    f"{path.name}: others may read it, and providers.{name}.{key} stands in it; "
                    f"`chmod 600 {path.name}`, or write ${{VARIABLE}} instead of the key"
                )


def _astray(policy: Policy, document: Document, config: Config) -> Iterator[Problem]:
    """Routes to providers that do not exist."""
    for n, route in enumerate(policy.routes):
        if route.provider not in config.providers:
            near = nearest(route.provider, config.providers)
            remedy = f'did you mean "{near}"?' if near else f"choose one of {', '.join(config.providers)}"
            place = ("routes", n, "provider")
            path = f"routes[{n}].provider"
            yield Problem(
                path, f'"{route.provider}" is no provider of config.yaml', remedy, document.line_of(place)
            )


def _without_secrets(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return REDACTED if value.get_secret_value() else EMPTY
    if isinstance(value, dict):
        return {name: _without_secrets(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(inner) for inner in value]
    return value if isinstance(value, bool | int | float) else str(value)
