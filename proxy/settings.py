"""config.yaml as people write it: which keys it has, what each may hold, and what holds where it is left out."""

import re
from decimal import Decimal
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pricing.problem import nearest
from proxy import channels, dialects, plugins
from proxy.address import Address, is_loopback, parse_address
from proxy.fetch import fetch_url, is_plain_over_network, shown
from proxy.log import Format, Level
from proxy.outbound import HttpProxy, header_name, header_value, parse_http_proxy
from proxy.routing import RESERVED
from rules import alert
from rules.spec import ListOf, NotYet, Section, Spec, Usd
from rules.spec import Pattern as Glob

SAMPLE = "sample"
"""The provider that is built in: it answers offline."""

_PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def _text(value: object, *, of: str) -> object:
    """Whatever is wrong with a secret or a path, its value is not repeated."""
    if value is not None and not isinstance(value, str | Path | SecretStr):
        raise ValueError(f"is no {of}: write text, in quotes")
    return value


def _path(value: object) -> object:
    if value == "" or (isinstance(value, str) and "\0" in value):
        raise ValueError("names no file: write a path")
    return _text(value, of="path")


def is_key(text: str) -> bool:
    """Can it stand in a header as one word?"""
    return all("!" <= char <= "~" for char in text)


def _key(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and not is_key(text):
        raise ValueError("holds a character that no header may carry: check for spaces and line ends")
    return _text(value, of="key")


def _header_value(value: object) -> object:
    if isinstance(value, str):
        header_value(value)
    return _text(value, of="header value")


def _each_name_once(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    names = [name.lower() for name in headers]
    if len(set(names)) < len(names):
        raise ValueError("holds a header twice, in two cases: keep one")
    return headers


def _http_proxy(value: object) -> object:
    """Empty text is none: its variable was not set."""
    if value == "":
        return None
    return parse_http_proxy(value) if isinstance(value, str) else _text(value, of="proxy")


def _switch(value: object) -> object:
    """YAML reads `on` and `off` as true and false."""
    return ("on" if value else "off") if isinstance(value, bool) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _one_of(value: str, *, what: str, known: list[str]) -> str:
    if value not in known:
        near = nearest(value, known)
        hint = f'did you mean "{near}"?' if near else f"choose one of {', '.join(known)}"
        raise ValueError(f'"{value:.60}" is no {what}: {hint}')
    return value


def _provider_name(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f'"{name}" is a path of our own: choose another name')
    if not _PROVIDER_NAME.fullmatch(name):
        raise ValueError(f'"{name:.60}" cannot stand in a path: use a-z, 0-9 and -')
    return name


def _dialect(value: str) -> str:
    return _one_of(value, what="dialect", known=dialects.names())


def _channel_type(value: str) -> str:
    known = sorted(module.name for module in iter_modules(channels.__path__))
    if value not in known:
        raise ValueError(
            f'channels of type "{value:.60}" are not available in this version: choose one of {", ".join(known)}'
        )
    return value


def _plugin(name: str, *, what: str, group: str) -> str:
    known = plugins.names(group)
    if not known:
        raise ValueError(f'"{name:.60}" is no {what}: no plug-in of the group {group} is installed')
    return _one_of(name, what=what, known=known)


def _price_source(name: str) -> str:
    return _plugin(name, what="price source", group=plugins.PRICE_SOURCES)


def _estimator(name: str) -> str:
    return _plugin(name, what="estimator", group=plugins.ESTIMATORS)


def _categoriser(name: str) -> str:
    return _plugin(name, what="categoriser", group=plugins.CATEGORISERS)


def _base_url(value: str) -> str:
    """Joined with the caller's path and query, and sent to as it stands. A wrong one is not repeated: it may hold a
    password."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL: write one such as https://api.openai.com/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("is no http or https URL: write one such as https://api.openai.com/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or password: put the credential into api_key")
    if "?" in value or "#" in value:
        raise ValueError("has a query or a fragment: end it with the path, as in https://api.openai.com/v1")
    if not all("!" <= char <= "~" for char in value) or "\\" in value:
        raise ValueError("holds a character that no URL has: write it percent-encoded")
    return value


def _ledger_url(value: str) -> str:
    if value in ("sqlite", "sqlite-memory"):
        return value
    if value.startswith("postgres"):
        raise ValueError("PostgreSQL is not available in this version: write sqlite")
    raise ValueError("is no ledger: write sqlite, or sqlite-memory for one that is forgotten at the end")


def _one_worker(value: int) -> int:
    if value != 1:
        raise ValueError("more than one process is not available in this version: write 1")
    return value


def _empty_as_none(value: object) -> object:
    """Its variable was not set."""
    return None if value == "" else value


def _nothing_as_empty(value: object) -> object:
    return {} if value is None else value


Listen = Annotated[Address, BeforeValidator(parse_address), PlainSerializer(str)]
File = Annotated[Path, BeforeValidator(_path), PlainSerializer(str)]
ProviderName = Annotated[str, AfterValidator(_provider_name)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Key = Annotated[SecretStr, BeforeValidator(_key)]
HeaderName = Annotated[str, AfterValidator(header_name)]
HeaderValue = Annotated[SecretStr, BeforeValidator(_header_value)]
DefaultHeaders = Annotated[
    dict[HeaderName, HeaderValue], BeforeValidator(_nothing_as_empty), AfterValidator(_each_name_once)
]
OutboundProxy = Annotated[HttpProxy, PlainSerializer(str)]
FetchUrl = Annotated[str, AfterValidator(fetch_url), PlainSerializer(shown)]
PriceSource = Annotated[str, AfterValidator(_price_source)]
Estimator = Annotated[str, AfterValidator(_estimator)]
Categoriser = Annotated[str, AfterValidator(_categoriser)]


class Timeouts(Section):
    """Of one provider."""

    connect_seconds: Seconds = 10.0
    idle_seconds: Seconds = 600.0  # reasoning models think for minutes before their first byte


class UpstreamBreaker(Section):
    """When a provider counts as down. With these defaults hardly a call that would succeed is refused."""

    enabled: bool = True
    failure_share: Annotated[Decimal, Field(gt=0, le=1)] = Decimal("0.9")
    min_calls: Annotated[int, Field(ge=1, le=100_000)] = 20
    window_seconds: Annotated[float, Field(ge=1, le=3_600)] = 60.0
    first_token_seconds: Seconds | None = None
    cooldown_seconds: Annotated[float, Field(ge=0.1, le=3_600)] = 10.0
    trial_calls: Annotated[int, Field(ge=1, le=100)] = 3

    @model_validator(mode="before")
    @classmethod
    def _on_or_off(cls, data: Any) -> Any:
        """YAML reads `off` as false; in quotes, and in JSON, it is a word."""
        if data in ("on", "off"):
            return {"enabled": data == "on"}
        if isinstance(data, str):
            raise ValueError("is no breaker: write off, or its keys below it")
        return {"enabled": data} if isinstance(data, bool) else data


class Provider(Spec):
    """One endpoint with its credential."""

    dialect: Annotated[str, AfterValidator(_dialect)]
    base_url: Annotated[str, AfterValidator(_base_url)]
    api_key: Key | None = None
    api_key_file: File | None = None
    headers: DefaultHeaders = Field(default_factory=dict)
    apis: ListOf[str] = ()
    timeouts: Timeouts = Timeouts()
    connections_max: Annotated[int, Field(ge=0, le=100_000)] = 0
    ca_file: File | None = None
    tls_verify: bool = True
    proxy: Annotated[OutboundProxy | None, BeforeValidator(_http_proxy)] = None
    price_provider: Annotated[str, Field(min_length=1)] | None = None
    include_usage: bool = True
    own_cost: Annotated[Literal["off", "on"], BeforeValidator(_switch)] = "off"
    connect_retries: Annotated[int, Field(ge=0, le=3)] = 0
    breaker: UpstreamBreaker = UpstreamBreaker()

    @field_validator("api_key_file")
    @classmethod
    def _one_key(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file is not None and info.data.get("api_key") is not None:
            raise ValueError("stands beside api_key: keep one of the two")
        return file

    @property
    def default_headers(self) -> list[tuple[str, str]]:
        """An empty one is one whose variable was not set: it is not sent."""
        plain = ((name, value.get_secret_value()) for name, value in self.headers.items())
        return [(name, value) for name, value in plain if value]

    @property
    def configured(self) -> bool:
        """An empty key is one whose variable was not set; no key at all means that the provider needs none."""
        return self.api_key is None or bool(self.api_key.get_secret_value())

    @property
    def is_plain_over_network(self) -> bool:
        """Would keys and prompts cross a network unencrypted?"""
        parts = urlsplit(self.base_url)
        return parts.scheme == "http" and not is_loopback(parts.hostname or "")


_SAMPLE_PROVIDER = Provider.model_construct(
    dialect="openai",
    base_url="sample:",
    price_provider="openai",  # a live key sees what its calls would have cost
)


class Admin(Section):
    listen: Listen = Address("127.0.0.1", 4001)


class Ledger(Section):
    url: Annotated[str, AfterValidator(_ledger_url)] = "sqlite"

    @property
    def in_memory(self) -> bool:
        return self.url == "sqlite-memory"


class JournalSettings(Section):
    durability: Literal["normal", "full"] = "normal"


class OnDisconnect(Section):
    """What becomes of a call whose client left."""

    stream: Literal["abort", "drain"] = "abort"
    unary: Literal["abort", "drain"] = "drain"
    drain_max: Annotated[int, Field(ge=0, le=100_000)] = 100
    drain_seconds: Seconds = 300.0
    drain_usd: Usd = Decimal(10)


class OnJournalFailure(Section):
    soft_allowance_usd: Usd = Decimal(1)


class PriceSettings(Section):
    """Where a running server fetches newer prices; without either it fetches none."""

    url: Annotated[FetchUrl | None, BeforeValidator(_empty_as_none)] = None
    source: PriceSource | None = None
    ttl_seconds: Annotated[float, Field(ge=1, le=604_800)] = 3_600.0

    @field_validator("source")
    @classmethod
    def _one_source(cls, source: str | None, info: ValidationInfo) -> str | None:
        if source is not None and info.data.get("url") is not None:
            raise ValueError("stands beside url: keep one of the two")
        return source

    @property
    def is_on(self) -> bool:
        return self.url is not None or self.source is not None

    @property
    def is_plain_over_network(self) -> bool:
        """Could somebody in between set the prices?"""
        return self.url is not None and is_plain_over_network(self.url)


class Limits(Section):
    body_mb: Annotated[int, Field(ge=1, le=4096)] = 64

    @property
    def body_bytes(self) -> int:
        return self.body_mb << 20


class Logging(Section):
    level: Annotated[Level, BeforeValidator(_upper)] = "INFO"
    format: Format = "json"


class Tls(Spec):
    cert_file: File
    key_file: File


class Channel(Spec):
    type: Annotated[str, AfterValidator(_channel_type)]


class AlertRoute(Spec):
    """Which alerts go to which channels."""

    severity: Annotated[tuple[alert.Level, ...], Field(min_length=1)] = tuple(alert.Level)
    channels: Annotated[tuple[str, ...], Field(min_length=1)]


class Alerts(Section):
    enabled: bool = True
    channels: Annotated[dict[str, Channel], BeforeValidator(_nothing_as_empty)] = Field(
        default_factory=lambda: {"log": Channel.model_construct(type="log")}
    )
    routes: ListOf[AlertRoute] | None = None

    @field_validator("routes")
    @classmethod
    def _to_channels_there_are(
        cls, routes: tuple[AlertRoute, ...] | None, info: ValidationInfo
    ) -> tuple[AlertRoute, ...] | None:
        known = list(info.data.get("channels", ()))
        for route in routes or ():
            for name in route.channels if "channels" in info.data else ():
                _one_of(name, what="channel", known=known)
        return routes

    def channels_for(self, level: alert.Level) -> tuple[str, ...]:
        """The channels that an alert goes to, each once: by the routes, or all of them where none are written."""
        if not self.enabled:
            return ()
        if self.routes is None:
            return tuple(self.channels)
        named = (name for route in self.routes if level in route.severity for name in route.channels)
        return tuple(dict.fromkeys(named))


class Config(Section):
    """The whole file."""

    version: Literal[1] = 1
    listen: Listen = Address("127.0.0.1", 4000)
    admin: Admin = Admin()
    tls: Tls | None = None
    providers: dict[ProviderName, Provider] = Field(default_factory=dict, validate_default=True)
    default_provider: str = Field(default="", validate_default=True)
    rules_file: File = Path("rules.yaml")
    prices_file: File | None = None
    prices: PriceSettings = PriceSettings()
    estimators: Annotated[dict[Glob, Estimator], BeforeValidator(_nothing_as_empty)] = Field(
        default_factory=dict
    )
    categoriser: Annotated[Categoriser | None, BeforeValidator(_empty_as_none)] = None
    data_dir: File = Path("data")
    ledger: Ledger = Ledger()
    journal: JournalSettings = JournalSettings()
    workers: Annotated[int, AfterValidator(_one_worker)] = 1
    allow_test_keys: bool = True
    unknown_model: Literal["ceiling_price", "deny", "allow_unmetered"] = "ceiling_price"
    budget_status: Literal[402, 429] = 402
    hold_wait_seconds: Annotated[float, Field(ge=0, le=300)] = 10.0
    hold_queue_max: Annotated[int, Field(ge=0, le=1_000_000)] = 1_000
    max_delay_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0
    on_disconnect: OnDisconnect = OnDisconnect()
    on_journal_failure: OnJournalFailure = OnJournalFailure()
    transparent: Literal["standard", "exact"] = "standard"
    shutdown_seconds: Annotated[float, Field(ge=0, le=3_600)] = 30.0
    limits: Limits = Limits()
    logging: Logging = Logging()
    alerts: Alerts = Alerts()
    retention: NotYet = None
    tracing: NotYet = None

    def price_provider(self, provider: str) -> str:
        """Whose prices in the catalogue a provider's calls are charged at."""
        return self.providers[provider].price_provider or provider

    @property
    def own_cost_providers(self) -> frozenset[str]:
        """Those whose own figure of a call's cost goes before its price."""
        return frozenset(name for name, provider in self.providers.items() if provider.own_cost == "on")

    @field_validator("admin")
    @classmethod
    def _on_an_address_of_its_own(cls, admin: Admin, info: ValidationInfo) -> Admin:
        if admin.listen.port and admin.listen == info.data.get("listen"):
            raise ValueError(f"listens on {admin.listen}, as calls do: give it another port")
        return admin

    @field_validator("providers", mode="before")
    @classmethod
    def _with_the_sample(cls, value: Any) -> Any:
        """The sample provider is always there, last; it is nobody's to configure."""
        if value is None:
            value = {}
        if not isinstance(value, dict):
            return value
        if SAMPLE in value:
            raise ValueError(f'"{SAMPLE}" is built in: choose another name')
        return {**value, SAMPLE: _SAMPLE_PROVIDER}

    @field_validator("default_provider")
    @classmethod
    def _first_where_unnamed(cls, name: str, info: ValidationInfo) -> str:
        providers = info.data.get("providers")
        if providers is None:  # told already
            return name
        return _one_of(name, what="provider", known=list(providers)) if name else next(iter(providers))
