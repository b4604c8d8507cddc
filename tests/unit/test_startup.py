"""What on this machine stands in the way of a start: each with its remedy, all at once, nothing made or changed."""

from pathlib import Path

import pytest
import trustme

from proxy.config import Config, Provider, Tls
from proxy.errors import StartupError
from proxy.startup import startup_checks, with_keys

AUTHORITY = trustme.CA()


def config_with(data_dir: Path, tls: Tls | None = None) -> Config:
    return Config().model_copy(update={"data_dir": data_dir, "tls": tls})


def told(config: Config) -> list[tuple[str, str]]:
    return [(problem.message, problem.remedy) for problem in startup_checks(config)]


def write_pair(folder: Path, *, name: str = "spendgate.example", mode: int = 0o600) -> Tls:
    issued = AUTHORITY.issue_cert(name)
    tls = Tls(cert_file=folder / f"{name}.pem", key_file=folder / f"{name}.key")
    tls.cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    tls.key_file.write_bytes(issued.private_key_pem.bytes())
    tls.key_file.chmod(mode)
    return tls


@pytest.fixture
def private(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


def test_a_private_folder_is_fit(private: Path) -> None:
    assert told(config_with(private)) == []


def test_a_folder_that_is_not_there_yet_is_fit_and_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"

    assert told(config_with(folder)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_never_be_made_is_told_with_where(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "data"

    assert told(config_with(folder)) == [
        (
            f"the data folder {folder} cannot be made in {tmp_path / 'file'}",
            "make it yourself, or set data_dir",
        )
    ]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").touch()

    assert told(config_with(tmp_path / "data")) == [
        (f"data_dir {tmp_path / 'data'} is a file", "name a folder")
    ]


@pytest.mark.parametrize("mode", [0o755, 0o701, 0o704, 0o770, 0o720, 0o777])
def test_a_folder_that_others_may_use_is_told_with_the_command_that_closes_it(
    private: Path, mode: int
) -> None:
    private.chmod(mode)

    assert told(config_with(private)) == [
        (f"the data folder {private} is open to others (mode {mode:o})", f"chmod 700 {private}")
    ]
    assert private.stat().st_mode & 0o777 == mode, "a check changes nothing"


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o740])
def test_a_group_may_read_the_folder(private: Path, mode: int) -> None:
    private.chmod(mode)

    assert told(config_with(private)) == []


def test_a_certificate_with_its_own_private_key_is_fit(private: Path, tmp_path: Path) -> None:
    assert told(config_with(private, write_pair(tmp_path))) == []


@pytest.mark.parametrize("missing", ["cert_file", "key_file"])
def test_a_missing_file_of_tls_is_told_with_its_key(private: Path, tmp_path: Path, missing: str) -> None:
    tls = write_pair(tmp_path)
    file: Path = getattr(tls, missing)
    file.unlink()

    assert told(config_with(private, tls)) == [
        (f"tls.{missing}: {file} does not exist", "name a PEM file that this user may read")
    ]


def test_a_folder_in_the_place_of_a_certificate_cannot_be_read(private: Path, tmp_path: Path) -> None:
    tls = write_pair(tmp_path).model_copy(update={"cert_file": tmp_path})

    ((message, _),) = told(config_with(private, tls))
    assert message == f"tls.cert_file: {tmp_path} cannot be read"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_private_key_that_others_may_read_is_told(private: Path, tmp_path: Path, mode: int) -> None:
    tls = write_pair(tmp_path, mode=mode)

    assert told(config_with(private, tls)) == [
        (f"tls.key_file: others may read {tls.key_file} (mode {mode:o})", f"chmod 600 {tls.key_file}")
    ]


def test_a_key_of_another_certificate_is_told(private: Path, tmp_path: Path) -> None:
    own, other = write_pair(tmp_path), write_pair(tmp_path, name="other.example")
    tls = Tls(cert_file=own.cert_file, key_file=other.key_file)

    ((message, remedy),) = told(config_with(private, tls))
    assert "MISMATCH" in message
    assert remedy == "name a certificate chain and its own private key, both PEM"


# -- files of providers -----------------------------------------------------------------------------------------------


def config_of(data_dir: Path, **settings: Path) -> Config:
    provider = Provider.model_validate({"dialect": "openai", "base_url": "https://h/v1", **settings})
    return config_with(data_dir).model_copy(update={"providers": {"near": provider}})


def written(file: Path, content: bytes, mode: int = 0o600) -> Path:
    file.touch(mode=0o600)
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    "content",
    [b"sk-1", b"sk-1\n", b" sk-1\r\n\r\n", b"\xef\xbb\xbfsk-1\n"],
    ids=["bare", "line", "dos", "bom"],
)
def test_the_key_of_a_file_counts_without_what_editors_add(
    private: Path, tmp_path: Path, content: bytes
) -> None:
    config = config_of(private, api_key_file=written(tmp_path / "key", content))

    assert told(config) == []
    key = with_keys(config).providers["near"].api_key
    assert key is not None
    assert key.get_secret_value() == "sk-1"


@pytest.mark.parametrize(
    ("content", "mode", "words", "remedy"),
    [
        (b"sk-1", 0o640, "others may read FILE (mode 640)", "chmod 600 FILE"),
        (b"sk-1", 0o604, "others may read FILE (mode 604)", "chmod 600 FILE"),
        (b" \n", 0o600, "FILE is empty", "write the key into it, and nothing else"),
        (b"sk-1\nsk-2", 0o600, "FILE holds a character", "write the key into it, and nothing else"),
        (b"\xff\xfe", 0o600, "FILE holds a character", "write the key into it, and nothing else"),
        (None, 0o600, "FILE does not exist", "name a file that this user may read"),
    ],
)
def test_a_key_file_that_will_not_do_is_told_without_what_it_holds(
    private: Path, tmp_path: Path, content: bytes | None, mode: int, words: str, remedy: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        written(file, content, mode)
    config = config_of(private, api_key_file=file)

    ((message, what_to_do),) = told(config)
    assert message.startswith(f"providers.near.api_key_file: {words}".replace("FILE", str(file)))
    assert what_to_do == remedy.replace("FILE", str(file))
    assert "sk-1" not in message
    with pytest.raises(StartupError, match="api_key_file"):
        with_keys(config)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_authority_that_cannot_be_read_is_told_with_its_remedy(
    private: Path, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)

    ((message, remedy),) = told(config_of(private, ca_file=file))
    assert message.startswith(f"providers.near.ca_file: {file} cannot be used: ")
    assert remedy == "name a PEM file of certificates that this user may read"


def test_an_authority_of_ones_own_is_fit(private: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "ca.pem", AUTHORITY.cert_pem.bytes())

    assert told(config_of(private, ca_file=file)) == []


# -- all of it ----------------------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_told_at_once(private: Path, tmp_path: Path) -> None:
    private.chmod(0o755)
    tls = write_pair(tmp_path, mode=0o644)
    tls.cert_file.write_text("no certificate")

    found = [message.partition(":")[0] for message, _ in told(config_with(private, tls))]
    assert found == [f"the data folder {private} is open to others (mode 755)", "tls.key_file", "tls"]
