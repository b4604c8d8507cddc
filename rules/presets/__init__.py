"""Rules files to start from, as text with its comments: `spendgate init` writes one of them."""

from importlib.resources import files

PRESETS = ("quickstart", "production", "development", "testing")


def preset(name: str) -> str:
    """The text of rules.yaml for that preset."""
    if name not in PRESETS:
        raise ValueError(f'no preset "{name}": choose one of {", ".join(PRESETS)}')
    return files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
