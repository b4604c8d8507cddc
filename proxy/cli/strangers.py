"""`pricing`, `rules` and `proxy` are common names: never run on another project's."""

from importlib.metadata import packages_distributions

from proxy.errors import StartupError

DISTRIBUTION = "spendgate"
OURS = ("pricing", "rules", "proxy")


def refuse_strangers() -> None:
    """Raises StartupError where another distribution ships one of our import names into this environment."""
    owners = packages_distributions()
    strangers = {name: sorted(set(owners.get(name, ())) - {DISTRIBUTION}) for name in OURS}
    told = [f"{name} (of {', '.join(others)})" for name, others in strangers.items() if others]
    if told:
        raise StartupError(
            f"other packages bring import names of ours: {', '.join(told)}",
            f"install {DISTRIBUTION} into an environment of its own: `uv tool install` and `pipx install` make one",
        )
