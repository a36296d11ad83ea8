"""Storage options of the command line."""

from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("typer")

from scdataset_core.tools.storage_arguments import parse_storage_options


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        (None, None),
        ([], None),
        (["region=eu-west-1"], {"region": "eu-west-1"}),
        (["key=a=b=", "other="], {"key": "a=b=", "other": ""}),
        (["account=0123"], {"account": "0123"}),
        (["skip_signature=true", "x=false"], {"skip_signature": True, "x": False}),
        (['{"region": "a", "n": 3}', "region=b"], {"region": "b", "n": 3}),
        (
            ["client_options.allow_http=true", "client_options.timeout=9s"],
            {"client_options": {"allow_http": True, "timeout": "9s"}},
        ),
        (
            ['{"client_options": {"a": 1}}', 'client_options={"b": {"c": "d"}}'],
            {"client_options": {"a": 1, "b": {"c": "d"}}},
        ),
    ],
)
def test_options_are_pairs_or_json_and_later_ones_count(texts, options):
    assert parse_storage_options(texts) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CANARY", "takes KEY=VALUE or a JSON object"),
        ("=CANARY", "takes KEY=VALUE or a JSON object"),
        ('{"key": "CANARY"', "this is no JSON object: .* at character"),
        ('client_options={"CANARY"}', "client_options: this is no JSON object"),
    ],
)
def test_what_is_neither_is_an_error_that_does_not_show_it(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_storage_options([text])
    assert "CANARY" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_numbers_and_times_of_retries_are_no_text():
    options = parse_storage_options(
        [
            "retry_config.max_retries=3",
            "retry_config.retry_timeout=2m",
            "retry_config.backoff.init_backoff=500ms",
            '{"retry_config": {"backoff": {"max_backoff": "10s", "base": 2}}}',
        ]
    )
    assert options is not None
    assert options["retry_config"] == {
        "max_retries": 3,
        "retry_timeout": timedelta(minutes=2),
        "backoff": {
            "init_backoff": timedelta(milliseconds=500),
            "max_backoff": timedelta(seconds=10),
            "base": 2,
        },
    }
    for text, match in (
        ("retry_config.max_retries=many", "max_retries must be a number"),
        ("retry_config.backoff.init_backoff=3", "backoff.init_backoff must be a time"),
    ):
        with pytest.raises(ValueError, match=match):
            parse_storage_options([text])


def test_every_command_that_opens_files_takes_them():
    pytest.importorskip("rich")
    import typer.main

    from scdataset_core.tools.commands import app

    group: Any = typer.main.get_command(app)
    commands = {**group.commands, **group.commands["cache"].commands}
    takes = {
        name
        for name, command in commands.items()
        if any({"--storage-options", "-o"} <= {*one.opts} for one in command.params)
    }
    expected = {"inspect", "verify", "tune", "suggest", "bench", "demo", "split"}
    assert takes == expected | {"rewrite", "fill", "index"}
