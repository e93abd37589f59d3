"""Settings from a file, the environment and flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.brokers.base import Retention
from headwater.cli.settings import NAMES, Settings, load
from headwater.errors import ConfigurationError


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs where there is no headwater.toml of somebody else's."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_later_source_wins(empty_folder: Path) -> None:
    """File, then environment, then flags; what none of them says has its default."""
    (empty_folder / "headwater.toml").write_text(
        'port = 1\nworkers = 2\ndev = true\nbroker = "memory://"\ncors_origins = ["a", "b"]'
    )
    found = load({"port": 3, "host": None}, {"HEADWATER_PORT": "2", "HEADWATER_WORKERS": "4", "HOME": "/"})
    assert (found.port, found.workers, found.broker) == (3, 4, "memory://")
    assert found.dev is True
    assert found.cors_origins == ("a", "b")
    assert found.host == "127.0.0.1"


def test_a_named_file_must_exist_and_be_toml(empty_folder: Path) -> None:
    """A file asked for by name is not silently left out."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load({}, {}, empty_folder / "missing.toml")
    (empty_folder / "bad.toml").write_text("port = = 1")
    with pytest.raises(ConfigurationError, match=r"bad\.toml cannot be read"):
        load({}, {}, empty_folder / "bad.toml")


def test_unknown_names_are_errors_and_name_their_source(empty_folder: Path) -> None:
    """A typing mistake does not go unnoticed, wherever it stands."""
    with pytest.raises(ConfigurationError, match=r"the environment sets HEADWATER_BROKR.*HEADWATER_BROKER"):
        load({}, {"HEADWATER_BROKR": "memory://"})
    (empty_folder / "headwater.toml").write_text("prot = 1")
    with pytest.raises(ConfigurationError, match=r"headwater\.toml sets 'prot'.*port"):
        load({}, {})


def test_the_clients_variables_are_no_settings() -> None:
    """HEADWATER_URL and HEADWATER_TOKEN belong to the client commands and do not disturb a hub."""
    assert load({}, {"HEADWATER_URL": "http://x", "HEADWATER_TOKEN": "t"}) == Settings()


def test_an_empty_variable_is_not_set() -> None:
    """As in compose files, where `HEADWATER_JWT_ISSUER=` means none."""
    assert load({}, {"HEADWATER_JWT_ISSUER": "", "HEADWATER_PORT": ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("dev", "Yes", True),
        ("dev", "0", False),
        ("grace", "2.5", 2.5),
        ("max_streams", "0", 0),
        ("cors_origins", "https://a, https://b,", ("https://a", "https://b")),
        ("retention", "1h", None),
    ],
)
def test_text_is_read_as_the_settings_kind(name: str, text: str, value: Any) -> None:
    """Environment variables are text; each is read as its setting needs it."""
    found = getattr(load({}, {f"HEADWATER_{name.upper()}": text}), name)
    assert found == value or isinstance(found, Retention)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("port", "eighty", "a whole number"),
        ("port", True, "a whole number"),
        ("port", 70000, "0 to 65535"),
        ("workers", 0, "1 to 256"),
        ("grace", -1, "0 to 3600"),
        ("grace", True, "a number"),
        ("heartbeat", 0.5, "1 to 3600"),
        ("dev", "perhaps", "true or false"),
        ("dev", 1, "true or false"),
        ("cors_origins", 5, "a list"),
        ("cors_origins", [5], "a list"),
        ("retention", "soon", "rules such as"),
        ("log_level", "loud", "debug, info"),
        ("log_format", "xml", "auto, text"),
        ("broker", 5, "text"),
        ("tls_cert", "cert.pem", "both, or neither"),
    ],
)
def test_malformed_values_say_what_was_expected(name: str, value: Any, expected: str) -> None:
    """Every refusal names the setting and what would have been right."""
    with pytest.raises(ConfigurationError, match=expected) as caught:
        load({name: value}, {})
    assert name in str(caught.value)


def test_a_password_is_never_shown() -> None:
    """The log's URL may have one, and a list of two is a mistake that people make."""
    with pytest.raises(ConfigurationError, match=r"broker is \['redis://me:\*\*\*@h'\]"):
        load({"broker": ["redis://me:hunter2@h"]}, {})


def test_a_secret_is_never_shown() -> None:
    """An error about a secret does not repeat it."""
    with pytest.raises(ConfigurationError) as caught:
        load({"jwt_secret": 123456789}, {})
    assert "123456789" not in str(caught.value)


def test_every_setting_can_come_from_the_environment() -> None:
    """No setting is of a kind that text cannot give."""
    for name in NAMES:
        value = getattr(Settings(), name)
        text = ",".join(value) if isinstance(value, tuple) else "1h" if name == "retention" else str(value or 1)
        if name not in ("tls_cert", "tls_key"):
            load({}, {f"HEADWATER_{name.upper()}": text})


def test_rules_for_row_changes(empty_folder: Path) -> None:
    """They stand in the settings file itself, or in one that is named, or in Python; what is wrong with them is said here."""
    text = '[[changes]]\ntable = "jobs"\nchannel = "jobs"\n'
    (empty_folder / "headwater.toml").write_text(text)
    assert load({}, {}).changes == ({"table": "jobs", "channel": "jobs"},)
    (empty_folder / "rules.toml").write_text(text)
    assert load({}, {"HEADWATER_CHANGES": "rules.toml"}).changes == "rules.toml"
    (empty_folder / "headwater.toml").write_text("changes = 7")
    with pytest.raises(ConfigurationError, match=r"changes \(from headwater.toml\): changes in .* is no list of rules"):
        load({}, {})
