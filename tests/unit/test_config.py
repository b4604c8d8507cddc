"""config.yaml: what it comes to, and what is said of each way it can be wrong."""

import base64
from pathlib import Path
from typing import Any

import pytest

from pricing.document import DocumentError, Problem
from proxy import gate
from proxy.address import Address
from proxy.cli.init import config_text
from proxy.config import LoadedConfig, load_config, load_rules, redacted
from proxy.outbound import header_name, parse_http_proxy
from proxy.settings import Config
from rules.alert import Level
from rules.presets import PRESETS, preset

CANARY = "sk-canary-0123456789"
OPENAI = "{dialect: openai, base_url: https://api.openai.com/v1, api_key: '${KEY}'}"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "config.yaml"
    file.write_text(text)
    file.chmod(mode)
    return file


def load(folder: Path, text: str, mode: int = 0o600, **variables: str) -> LoadedConfig:
    return load_config(written(folder, text, mode), variables)


def problems(folder: Path, text: str, **variables: str) -> dict[str, Problem]:
    with pytest.raises(DocumentError) as raised:
        load_config(written(folder, text), variables)
    assert CANARY not in str(raised.value)
    return {problem.path: problem for problem in raised.value.problems}


# -- what a file comes to ---------------------------------------------------------------------------------------------


def test_an_empty_file_is_one_of_defaults_in_front_of_the_sample_provider(tmp_path: Path) -> None:
    loaded = load(tmp_path, "")

    assert loaded.config.listen == Address("127.0.0.1", 4000)
    assert list(loaded.config.providers) == ["sample"]
    assert loaded.config.default_provider == "sample"
    assert loaded.warnings == (
        "config.yaml: has no version; write `version: 1` as its first line",
        'no provider is configured: every call goes to the built-in provider "sample"',
    )


@pytest.mark.parametrize(
    "section", ["admin", "providers", "ledger", "journal", "limits", "logging", "alerts"]
)
def test_a_section_with_nothing_below_it_has_its_defaults(tmp_path: Path, section: str) -> None:
    assert load(tmp_path, f"version: 1\n{section}:\n").config == load(tmp_path, "version: 1\n").config


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("", "config.yaml: has no version; write `version: 1` as its first line"),
        ("version: 0\n", "config.yaml: version 0 is old and read as 1; write `version: 1`"),
    ],
)
def test_an_older_file_is_read_and_its_owner_told_what_to_write(tmp_path: Path, head: str, told: str) -> None:
    older = load(tmp_path, f"{head}budget_status: 429\n")

    assert older.config == load(tmp_path, "version: 1\nbudget_status: 429\n").config
    assert told in older.warnings


def test_a_newer_file_is_not_read(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "version: 2\n").values()

    assert str(problem) == (
        "line 1  version: 2 is not a version that is read here; write 1, or use a newer Spendgate"
    )


def test_paths_are_relative_to_the_files_folder(tmp_path: Path) -> None:
    text = "rules_file: r/rules.yaml\nprices_file: p.yaml\ndata_dir: d\ntls: {cert_file: c.pem, key_file: /k.pem}\n"
    config = load(tmp_path, text).config

    assert (config.rules_file, config.data_dir) == (tmp_path / "r" / "rules.yaml", tmp_path / "d")
    assert config.prices_file == tmp_path / "p.yaml"
    assert config.tls is not None
    assert (config.tls.cert_file, config.tls.key_file) == (tmp_path / "c.pem", Path("/k.pem"))


def test_the_first_provider_is_the_default_where_none_is_named(tmp_path: Path) -> None:
    both = f"providers:\n  near: {OPENAI}\n  far: {OPENAI}\n"

    assert load(tmp_path, both, KEY="k").config.default_provider == "near"
    assert load(tmp_path, both + "default_provider: far\n", KEY="k").config.default_provider == "far"


def test_prices_are_those_of_the_providers_own_name_or_of_the_one_it_names(tmp_path: Path) -> None:
    text = f"providers:\n  openai: {OPENAI}\n  mirror: {OPENAI[:-1]}, price_provider: openai}}\n"
    config = load(tmp_path, text, KEY="k").config

    assert [config.price_provider(name) for name in ("openai", "mirror", "sample")] == ["openai"] * 3


@pytest.mark.parametrize(
    ("routes", "info", "critical"),
    [
        ("", ("log",), ("log",)),
        ("routes:", ("log",), ("log",)),
        ("routes: [{severity: [critical], channels: [log]}]", (), ("log",)),
        ("routes: [{channels: [log]}, {severity: [critical], channels: [log]}]", ("log",), ("log",)),
        ("enabled: false", (), ()),
    ],
)
def test_an_alert_goes_where_its_severity_is_routed(
    tmp_path: Path, routes: str, info: tuple[str, ...], critical: tuple[str, ...]
) -> None:
    alerts = load(tmp_path, f"alerts:\n  channels: {{log: {{type: log}}}}\n  {routes}\n").config.alerts

    assert (alerts.channels_for(Level.INFO), alerts.channels_for(Level.CRITICAL)) == (info, critical)


@pytest.mark.parametrize("name", PRESETS)
def test_what_init_writes_loads(tmp_path: Path, name: str) -> None:
    (tmp_path / "rules.yaml").write_text(preset(name))
    loaded = load(tmp_path, config_text(name), OPENAI_API_KEY="a", ANTHROPIC_API_KEY="b")

    wanted: dict[str, tuple[Any, ...]] = {
        "quickstart": ("INFO", True, "sqlite"),
        "production": ("INFO", True, "sqlite"),
        "development": ("DEBUG", False, "sqlite"),
        "testing": ("WARNING", False, "sqlite-memory"),
    }
    config = loaded.config
    assert (config.logging.level, config.alerts.enabled, config.ledger.url) == wanted[name]
    assert load_rules(loaded).warnings == ()
    assert [each for each in loaded.warnings if "alerts.enabled" not in each] == []


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_all_problems_are_told_at_once_each_with_its_line_value_and_remedy(tmp_path: Path) -> None:
    text = (
        "lisen: 127.0.0.1:4000\nworkers: 4\nlimits: {body_mb: 0}\nlogging: {level: LOUD}\n"
        "providers: {v1: {dialect: opnai, base_url: api.openai.com}}\nhold_wait_seconds: '${NOPE}'\n"
    )

    assert [str(problem) for problem in problems(tmp_path, text).values()] == [
        'line 1  lisen: unknown key; did you mean "listen"?',
        "line 2  workers: more than one process is not available in this version; write 1",
        "line 3  limits.body_mb: 0 should be greater than or equal to 1",
        "line 4  logging.level: \"LOUD\" should be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'",
        'line 5  providers.v1: "v1" is a path of our own; choose another name',
        'line 5  providers.v1.dialect: "opnai" is no dialect; did you mean "openai"?',
        "line 5  providers.v1.base_url: is no http or https URL; write one such as https://api.openai.com/v1",
        "line 6  hold_wait_seconds: ${NOPE} is not set; export NOPE, or write ${NOPE:-default}",
    ]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("listen: '4000'", "listen", "has no port"),
        ("listen: ':4000'", "listen", "has no host"),
        ("listen: '::1:4000'", "listen", "an IPv6 address stands in brackets"),
        ("listen: '127.0.0.1:65536'", "listen", "has no port of 0 to 65535"),
        ("listen: 127.0.0.1:7\nadmin: {listen: '127.0.0.1:7'}", "admin", "give it another port"),
        ("default_provider: sampel", "default_provider", 'did you mean "sample"?'),
        ("providers: {sample: {}}", "providers", "is built in"),
        ("data_dir: ''", "data_dir", "names no file"),
        ("ledger: {url: postgresql://h/db}", "ledger.url", "not available in this version"),
        ("alerts: {channels: {ops: {type: slack}}}", "alerts.channels.ops.type", "choose one of log"),
        ("alerts: {routes: [{channels: [lgo]}]}", "alerts.routes", 'did you mean "log"?'),
        ("tls: {cert_file: a.pem}", "tls.key_file", "is missing"),
        ("shutdown_seconds: -1", "shutdown_seconds", "greater than or equal to 0"),
        ("max_delay_seconds: 0", "max_delay_seconds", "greater than 0"),
        ("on_disconnect: {drain_usd: -1}", "on_disconnect.drain_usd", "must be at least 0"),
    ],
)
def test_a_wrong_value_is_told_at_its_place(tmp_path: Path, text: str, path: str, words: str) -> None:
    found = problems(tmp_path, text)

    assert set(found) == {path}
    assert words in str(found[path])


@pytest.mark.parametrize("name", ["retention", "tracing"])
def test_a_setting_of_a_later_version_is_refused_by_name(tmp_path: Path, name: str) -> None:
    assert str(problems(tmp_path, f"{name}: 1")[name]).endswith("not available in this version; remove it")


@pytest.mark.parametrize(
    "provider",
    [
        f"api_key: '{CANARY} '",
        f"api_key: [{CANARY}]",
        "api_key: '${BAD_KEY}'",
        f"base_url: 'https://user:{CANARY}@api.openai.com/v1'",
        f"base_url: 'https://api.openai.com/v1?key={CANARY}'",
        f"headers: {{X-A: '{CANARY}\u00e9'}}",
        f"headers: {{X-A: [{CANARY}]}}",
        f"proxy: 'http://user:{CANARY}@host'",
        f"proxy: 'http://user:{CANARY}/@host:3128'",
        f"proxy: 'http://us%3Aer:{CANARY}@host:3128'",
        "proxy: '${BAD_KEY}'",
    ],
)
def test_a_wrong_secret_is_told_without_being_shown(tmp_path: Path, provider: str) -> None:
    base = "" if "base_url" in provider else "base_url: https://api.openai.com/v1, "
    text = f"providers: {{openai: {{dialect: openai, {base}{provider}}}}}"

    (path,) = problems(tmp_path, text, BAD_KEY=f"{CANARY}\n")
    assert path.removesuffix(".X-A") == f"providers.openai.{provider.partition(':')[0]}"


@pytest.mark.parametrize(
    ("setting", "key", "words"),
    [
        ("api_key: k, api_key_file: k.txt", "api_key_file", "stands beside api_key; keep one of the two"),
        ("headers: {Authorization: x}", "headers.Authorization", "credentials go into api_key"),
        ("headers: {Transfer-Encoding: chunked}", "headers.Transfer-Encoding", "belongs to each call itself"),
        ("headers: {x-spendgate-team: x}", "headers.x-spendgate-team", "belongs to each call itself"),
        ("headers: {X_Under: x}", "headers.X_Under", "is no name of a header"),
        ("headers: {X-A: 'x', x-a: 'y'}", "headers", "holds a header twice"),
        ("headers: {X-A: 7}", "headers.X-A", "is no header value; write text, in quotes"),
        ("connections_max: -1", "connections_max", "greater than or equal to 0"),
        ("ca_file: ''", "ca_file", "names no file"),
        ("proxy: 'https://host:3128'", "proxy", "is no HTTP proxy; write http://host:port"),
        ("proxy: 'http://host'", "proxy", "is no HTTP proxy"),
        ("proxy: 'http://host:3128/path'", "proxy", "is no HTTP proxy"),
        ("proxy: 'http://host:0'", "proxy", "is no HTTP proxy"),
        ("proxy: [a]", "proxy", "is no proxy; write text, in quotes"),
    ],
)
def test_a_wrong_setting_of_a_provider_is_told_with_its_remedy(
    tmp_path: Path, setting: str, key: str, words: str
) -> None:
    text = f"providers: {{near: {{dialect: openai, base_url: 'http://127.0.0.1/v1', {setting}}}}}"

    (problem,) = problems(tmp_path, text).values()
    assert problem.path == f"providers.near.{key}"
    assert words in str(problem)


def test_no_header_that_a_call_itself_decides_can_be_set_for_a_provider() -> None:
    decided = (
        gate.HOP_BY_HOP | gate.CREDENTIALS | {*gate.METHOD_OVERRIDES, "host", "content-length", "expect"}
    )

    for name in (*decided, "content-type", "content-encoding"):
        with pytest.raises(ValueError, match="belongs to each call itself"):
            header_name(name.title())
    assert header_name("OpenAI-Project") == "OpenAI-Project"


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), (b"\xff\xfe", "is not UTF-8 text")])
def test_a_file_that_cannot_be_read_is_told_with_a_remedy(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(DocumentError, match=words) as raised:
        load_config(file, {})
    assert raised.value.problems[0].remedy


# -- secrets and warnings ---------------------------------------------------------------------------------------------


def test_what_is_shown_has_no_secret(tmp_path: Path) -> None:
    text = f"providers:\n  a: {OPENAI}\n  b: {OPENAI.replace('KEY', 'NONE:-')}\n"
    shown = redacted(load(tmp_path, text, KEY=CANARY).config)

    assert CANARY not in str(shown)
    assert [each["api_key"] for each in shown["providers"].values()] == [
        "[redacted]",
        "[empty: not configured]",
    ]
    Config.model_validate({**shown, "providers": {}, "default_provider": ""})  # and is a configuration itself


def test_headers_and_the_credential_of_a_proxy_are_not_shown(tmp_path: Path) -> None:
    more = "headers: {X-A: '${KEY}', X-B: '${NONE:-}'}, proxy: 'http://user:${KEY}@[::1]:3128'"
    text = f"providers: {{a: {{dialect: openai, base_url: 'https://h/v1', {more}}}}}"
    config = load(tmp_path, text, KEY=CANARY).config
    shown = redacted(config)["providers"]["a"]

    assert CANARY not in f"{shown}{config!r}"
    assert shown["headers"] == {"X-A": "[redacted]", "X-B": "[empty: not configured]"}
    assert shown["proxy"] == "http://[redacted]@[::1]:3128"
    assert config.providers["a"].default_headers == [("X-A", CANARY)]


@pytest.mark.parametrize(
    ("url", "credential"),
    [
        ("http://host:3128", ""),
        ("http://us%20er:p%40ss@host:3128/", "us er:p@ss"),
        ("http://user@host:3128", "user:"),
    ],
)
def test_the_credential_of_a_proxy_is_taken_from_its_url(url: str, credential: str) -> None:
    proxy = parse_http_proxy(url)

    scheme, _, coded = proxy.authorization.partition(" ")
    assert base64.b64decode(coded).decode() == credential
    assert scheme == ("Basic" if credential else "")
    assert proxy.url == "http://host:3128"


def test_a_proxy_whose_variable_is_not_set_is_none(tmp_path: Path) -> None:
    text = "providers: {a: {dialect: openai, base_url: 'https://h/v1', proxy: '${OUT:-}'}}"

    config = load(tmp_path, text).config
    assert config.providers["a"].proxy is None
    assert "proxy" not in redacted(config)["providers"]["a"]


def test_a_provider_that_anybody_can_pose_as_is_warned_of_by_name(tmp_path: Path) -> None:
    one = "{dialect: openai, base_url: 'https://h/v1', tls_verify: false}"
    text = (
        f"version: 1\nproviders: {{a: {one}, b: {one}, c: {{dialect: openai, base_url: 'https://h/v1'}}}}\n"
    )

    first, second = load(tmp_path, text).warnings
    assert first.startswith("providers.a.tls_verify: DANGER: is false;")
    assert second.startswith("providers.b.tls_verify: DANGER: is false;")


def test_the_files_of_a_provider_are_relative_to_the_files_folder(tmp_path: Path) -> None:
    more = "api_key_file: keys/a, ca_file: /ca.pem"
    text = f"providers: {{a: {{dialect: openai, base_url: 'https://h/v1', {more}}}}}"
    provider = load(tmp_path, text).config.providers["a"]

    assert (provider.api_key_file, provider.ca_file) == (tmp_path / "keys" / "a", Path("/ca.pem"))


def test_a_key_in_a_file_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    text = f"version: 1\nproviders: {{openai: {OPENAI.replace('${KEY}', CANARY)}}}\n"

    (warning,) = load(tmp_path, text, mode=0o644).warnings
    assert "chmod 600 config.yaml" in warning
    assert CANARY not in warning
    assert load(tmp_path, text, mode=0o600).warnings == ()
    assert load(tmp_path, text.replace(CANARY, "${KEY}"), mode=0o644, KEY="k").warnings == ()


def test_a_proxys_password_in_a_file_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    text = "version: 1\nproviders: {a: {dialect: openai, base_url: 'https://h/v1', proxy: 'PROXY'}}\n"
    named = text.replace("PROXY", f"http://user:{CANARY}@host:3128")

    (warning,) = load(tmp_path, named, mode=0o644).warnings
    assert "providers.a.proxy stands in it" in warning
    assert CANARY not in warning
    assert load(tmp_path, text.replace("PROXY", "http://host:3128"), mode=0o644).warnings == ()


def test_keys_that_would_cross_a_network_in_the_clear_are_warned_of(tmp_path: Path) -> None:
    text = "version: 1\nproviders: {near: {dialect: openai, base_url: 'http://HOST/v1'}}\n"

    assert load(tmp_path, text.replace("HOST", "127.0.0.1:8000")).warnings == ()
    (warning,) = load(tmp_path, text.replace("HOST", "llm.example")).warnings
    assert warning.startswith("providers.near.base_url: keys and prompts cross the network unencrypted")


# -- the rules file beside it -----------------------------------------------------------------------------------------


def test_without_a_rules_file_nothing_is_limited_and_that_is_told(tmp_path: Path) -> None:
    policy = load_rules(load(tmp_path, "version: 1\n"))

    assert policy.budgets == ()
    assert policy.warnings == (
        "rules.yaml: not found, so nothing is limited; write one with `spendgate init`",
    )


def test_a_rules_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"mine\.yaml: 1 problem\n  cannot be read: No such"):
        load_rules(load(tmp_path, "rules_file: mine.yaml\n"))


def test_a_route_leads_to_a_provider_that_exists(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("routes: [{models: ['gpt-*'], provider: opena}]\n")

    with pytest.raises(
        DocumentError, match=r'routes\[0\].provider: "opena" is no provider of config.yaml; did'
    ):
        load_rules(load(tmp_path, f"providers: {{openai: {OPENAI}}}\n", KEY="k"))


@pytest.mark.parametrize(
    ("written_as", "enabled"),
    [("off", False), ('"off"', False), ("false", False), ("on", True), ("", True), ("{min_calls: 5}", True)],
)
def test_a_providers_breaker_is_switched_in_one_word(tmp_path: Path, written_as: str, enabled: bool) -> None:
    loaded = load(
        tmp_path,
        f"version: 1\nproviders:\n  openai:\n    dialect: openai\n    base_url: https://x.example\n    breaker: {written_as}\n",
    )

    assert loaded.config.providers["openai"].breaker.enabled is enabled


@pytest.mark.parametrize(
    ("written_as", "own_cost"),
    [("on", "on"), ('"on"', "on"), ("true", "on"), ("off", "off"), ('"off"', "off"), ("false", "off")],
)
def test_a_providers_own_cost_is_switched_in_one_word(tmp_path: Path, written_as: str, own_cost: str) -> None:
    provider = f"{{dialect: openai, base_url: 'https://x.example', own_cost: {written_as}}}"

    config = load(tmp_path, f"version: 1\nproviders: {{x: {provider}}}\n").config

    assert config.providers["x"].own_cost == own_cost
    assert config.own_cost_providers == ({"x"} if own_cost == "on" else set())


def test_an_own_cost_that_is_no_switch_is_told_with_its_place(tmp_path: Path) -> None:
    provider = "{dialect: openai, base_url: 'https://x.example', own_cost: sometimes}"

    (place,) = problems(tmp_path, f"version: 1\nproviders: {{x: {provider}}}\n")

    assert place == "providers.x.own_cost"


def test_a_breaker_that_cannot_be_is_told_with_its_place(tmp_path: Path) -> None:
    provider = "{dialect: openai, base_url: 'https://x.example', breaker: {failure_share: 1.5, min_call: 3}}"

    told = problems(tmp_path, f"version: 1\nproviders: {{openai: {provider}}}\n")

    assert set(told) == {"providers.openai.breaker.failure_share", "providers.openai.breaker.min_call"}

    worded = provider.replace("{failure_share: 1.5, min_call: 3}", "sometimes")
    (problem,) = problems(tmp_path, f"version: 1\nproviders: {{openai: {worded}}}\n").values()
    assert "is no breaker; write off" in str(problem)
