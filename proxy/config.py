"""config.yaml as people write it, and the environment: which settings there are, their bounds and their defaults."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from pricing.document import Document, DocumentError, Problem, check, nearest, parse
from proxy import dialects
from proxy.environment import Fallbacks, flag
from proxy.errors import StartupError
from proxy.routing import RESERVED
from rules.policy import Policy, load_policy
from rules.spec import Usd

SAMPLE_NAME = "sample"
SAMPLE_BASE_URL = "sample:"
MIB = 1 << 20


def environ() -> Mapping[str, str]:
    """The process's environment: read here and nowhere else."""
    return os.environ  # noqa: TID251 - the one place


class Section(BaseModel):
    """Unknown keys are errors; nothing changes once read. A section without entries is as if left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_empty(cls, data: Any) -> Any:
        return {} if data is None else data


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+)):(\d{1,5})", str(value))
    if not found or int(found[3]) > 65_535:
        raise ValueError(f'"{value}" is no address: write host:port, such as 127.0.0.1:4000 or [::1]:4000')
    return Address(found[1] or found[2], int(found[3]))


def _flag(value: object) -> object:
    read = flag(str(value)) if isinstance(value, str | int) else None
    return value if read is None else read


Listen = Annotated[Address, BeforeValidator(_address)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Seconds = Annotated[
    float,
    BeforeValidator(lambda value: float(value) if isinstance(value, Decimal) else value),
    Field(ge=0, le=86_400),
]
Positive = Annotated[int, Field(ge=1, le=1_000_000)]


def _base_url(value: str) -> str:
    if value == SAMPLE_BASE_URL:
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'"{value}" is no base URL: write https://host/path')
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a base URL has no user, query or fragment: put the credential into api_key")
    return value.rstrip("/")


class Timeouts(Section):
    connect_seconds: Seconds = 5.0
    idle_seconds: Seconds = 300.0


class Provider(Section):
    dialect: str = "openai"
    base_url: Annotated[str, AfterValidator(_base_url)]
    api_key: SecretStr | None = None
    apis: tuple[str, ...] = ()  # of the dialect; empty: all of them
    price_provider: str = ""  # whose prices apply; empty: the provider's own name
    include_usage: Flag = True  # the provider understands stream_options.include_usage
    timeouts: Timeouts = Timeouts()

    @property
    def configured(self) -> bool:
        """A provider without a credential cannot be used; the built-in sample needs none."""
        return self.base_url == SAMPLE_BASE_URL or (
            self.api_key is not None and bool(self.api_key.get_secret_value())
        )


SAMPLE = Provider(dialect="openai", base_url=SAMPLE_BASE_URL, price_provider="openai")


class Admin(Section):
    listen: Listen = Address("127.0.0.1", 4001)


class Ledger(Section):
    url: str = "sqlite"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.url.startswith("postgres"):
            raise ValueError(
                "a Postgres ledger needs holds that are shared between processes, which this version does not have: "
                "use sqlite"
            )
        if self.url not in ("sqlite", "sqlite-memory"):
            raise ValueError(f'"{self.url}" is no ledger: write sqlite, or sqlite-memory for tests')
        return self


class JournalSettings(Section):
    durability: Literal["normal", "full"] = "normal"


class OnDisconnect(Section):
    stream: Literal["abort", "drain"] = "abort"
    unary: Literal["abort", "drain"] = "drain"
    drain_max: Positive = 100
    drain_seconds: Seconds = 120.0
    drain_usd: Usd = Decimal(10)


class OnJournalFailure(Section):
    soft_allowance_usd: Usd = Decimal(1)


class Limits(Section):
    body_mb: Annotated[int, Field(ge=1, le=1024)] = 64

    @property
    def body_bytes(self) -> int:
        return self.body_mb * MIB


class Logging(Section):
    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
    ] = "INFO"
    format: Literal["json", "console"] = "json"


class Tls(Section):
    cert_file: Path
    key_file: Path


class ChannelSettings(Section):
    type: Literal["log"]


class AlertRoute(Section):
    severity: tuple[Literal["info", "warning", "critical", "exceeded"], ...] = (
        "info",
        "warning",
        "critical",
        "exceeded",
    )
    channels: tuple[str, ...]


class Alerts(Section):
    enabled: Flag = True
    channels: dict[str, ChannelSettings] = Field(default_factory=lambda: {"log": ChannelSettings(type="log")})
    routes: tuple[AlertRoute, ...] = (AlertRoute(channels=("log",)),)

    @model_validator(mode="after")
    def _channels_exist(self) -> Self:
        for route in self.routes:
            for name in route.channels:
                if name not in self.channels:
                    raise ValueError(
                        f'the route names channel "{name}": choose one of {", ".join(self.channels)}'
                    )
        return self


class Config(Section):
    """The whole file. Every field is in config.example.yaml, with its reason."""

    version: Literal[1] = 1
    listen: Listen = Address("127.0.0.1", 4000)
    admin: Admin = Admin()
    providers: dict[str, Provider]
    default_provider: str = ""
    rules_file: Path = Path("rules.yaml")
    data_dir: Path = Path("data")
    ledger: Ledger = Ledger()
    workers: Literal[1] = 1
    journal: JournalSettings = JournalSettings()
    unknown_model: Literal["ceiling_price", "deny", "allow_unmetered"] = "ceiling_price"
    on_disconnect: OnDisconnect = OnDisconnect()
    hold_wait_seconds: Seconds = 10.0
    hold_queue_max: Positive = 1000
    budget_status: Literal[402, 429] = 402
    on_journal_failure: OnJournalFailure = OnJournalFailure()
    transparent: Literal["standard", "exact"] = "standard"
    allow_test_keys: Flag = True
    shutdown_seconds: Seconds = 30.0
    limits: Limits = Limits()
    logging: Logging = Logging()
    tls: Tls | None = None
    alerts: Alerts = Alerts()

    @model_validator(mode="after")
    def _providers_make_sense(self) -> Self:
        for name in self.providers:
            if name in RESERVED or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
                raise ValueError(
                    f'"{name}" cannot be a provider\'s name: use lower-case letters, digits and dashes, and none of '
                    f"{', '.join(sorted(RESERVED))}"
                )
        known = [*self.providers, SAMPLE_NAME]
        if self.default_provider and self.default_provider not in known:
            near = nearest(self.default_provider, known)
            hint = f'; did you mean "{near}"?' if near else ""
            raise ValueError(
                f'default_provider "{self.default_provider}" is no provider: choose one of {", ".join(known)}{hint}'
            )
        return self


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration with its place: relative paths in it are relative to `folder`."""

    config: Config
    file: Path
    warnings: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.file.parent

    @property
    def data_dir(self) -> Path:
        return self.folder / self.config.data_dir

    @property
    def rules_file(self) -> Path:
        return self.folder / self.config.rules_file


def default_file(env: Mapping[str, str]) -> Path:
    return Path(env.get("SPENDGATE_CONFIG") or "config.yaml")


def load_config(file: Path, env: Mapping[str, str]) -> LoadedConfig:
    """Raises DocumentError with every problem, StartupError where the file cannot be read at all."""
    document = parse(_text_of(file, "make one with `spendgate init`"), file=str(file), environ=env)
    environment = Fallbacks.of(env)
    config = check(Config, replace(document, data=environment.fill_config(document.data)))
    problems = tuple(_dialect_problems(config, document))
    if problems:
        raise DocumentError(document.file, problems)
    ordered = {**config.providers, **({} if SAMPLE_NAME in config.providers else {SAMPLE_NAME: SAMPLE})}
    default = config.default_provider or next(iter(config.providers), SAMPLE_NAME)
    complete = config.model_copy(update={"providers": ordered, "default_provider": default})
    return LoadedConfig(
        complete, file.absolute(), (*document.warnings, *environment.warnings, *_warnings(complete))
    )


def load_rules(loaded: LoadedConfig, env: Mapping[str, str]) -> Policy:
    """The policy in force. Without a rules file nothing is limited, which is worth a warning.

    Raises DocumentError for a file with problems, or one whose routes lead nowhere."""
    environment = Fallbacks.of(env)
    text = _text_of(loaded.rules_file, "set rules_file") if loaded.rules_file.exists() else "version: 1\n"
    document = parse(text, file=str(loaded.rules_file), environ=env)
    policy = load_policy(replace(document, data=environment.fill_rules(document.data)))
    problems = tuple(
        Problem(
            "routes",
            f'provider "{route.provider}" is not in config.yaml',
            f"choose one of {', '.join(loaded.config.providers)}",
        )
        for route in policy.routes
        if route.provider not in loaded.config.providers
    )
    if problems:
        raise DocumentError(document.file, problems)
    return policy


def redacted(config: Config) -> dict[str, Any]:
    """The effective configuration as plain values, every secret replaced."""
    return {name: _plain(getattr(config, name)) for name in type(config).model_fields}


def _plain(value: Any) -> Any:
    match value:
        case BaseModel():
            return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
        case SecretStr():
            return "[redacted]" if value.get_secret_value() else ""
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case tuple() | list():
            return [_plain(each) for each in value]
        case Address() | Path() | Decimal():
            return str(value)
    return value


def _text_of(file: Path, remedy: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(str(file), (Problem("", "is not UTF-8 text", "save it as UTF-8"),)) from error
    except OSError as error:
        raise StartupError(f"cannot read {file}: {error.strerror}", remedy) from error


def _dialect_problems(config: Config, document: Document) -> Iterator[Problem]:
    choices = dialects.names()
    for name, provider in config.providers.items():
        if provider.dialect not in choices:
            place = ("providers", name, "dialect")
            yield Problem(
                f"providers.{name}.dialect",
                f'"{provider.dialect}" is no dialect of this version',
                f"choose one of {', '.join(choices)}",
                document.line_of(place),
            )


def _warnings(config: Config) -> Iterator[str]:
    for name, provider in config.providers.items():
        parts = urlsplit(provider.base_url)
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            yield f"providers.{name}.base_url is plain http: prompts and the credential travel in clear"
        if not provider.configured:
            yield f"providers.{name} has no api_key: calls to it are answered 503"
