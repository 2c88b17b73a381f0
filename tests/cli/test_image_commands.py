# SPDX-License-Identifier: Apache-2.0
"""`image list | show | add | set | delete`: in-process over an SQLite file, and over HTTP."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import Result
from tests.cli.conftest import Invoke
from tests.processes import free_port

from glance_registry.cli import client

FORMATS = ("--disk-format", "raw", "--container-format", "bare")
Image = Callable[..., Result]


@pytest.fixture
def image(invoke: Invoke, sqlite_database: str) -> Image:
    """Run an image command in-process."""

    def run(command: str, *arguments: object, **options: Any) -> Result:
        return invoke("image", command, *arguments, "--database", sqlite_database, **options)

    return run


def added(image: Image, *arguments: object) -> dict[str, Any]:
    result = image("add", *FORMATS, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def shown(image: Image, image_id: str) -> dict[str, Any]:
    return json.loads(image("show", image_id, "--json").stdout)


def row(result: Result, name: str) -> str:
    """The value in a two-column table."""
    (found,) = [line for line in result.stdout.splitlines() if line.startswith(name)]
    return found.removeprefix(name).strip()


def test_add_registers_what_its_options_say(image: Image) -> None:
    options = "--id one --name n --status queued --size 7 --location http://a --private --protected"
    result = image("add", *FORMATS, *options.split(), "--min-disk", 1, "--min-ram", 2, "--property", "a=b=c")

    assert result.exit_code == 0
    found = shown(image, "one")
    times = {name: found[name] for name in ("created_at", "updated_at")}
    assert found == {
        "id": "one",
        "name": "n",
        "size": 7,
        "disk_format": "raw",
        "container_format": "bare",
        "checksum": None,
        "status": "queued",
        **times,
        "deleted_at": None,
        "deleted": False,
        "is_public": False,
        "owner": None,
        "min_disk": 1,
        "min_ram": 2,
        "protected": True,
        "virtual_size": None,
        "location": "http://a",
        "location_data": [{"url": "http://a", "metadata": {}, "status": "active"}],
        "properties": {"a": "b=c"},
    }


def test_show_prints_a_row_for_each_field_and_property(image: Image) -> None:
    added(image, "--id", "one", "--property", "os_distro=debian", "--property", "[bold]=[red]x[/red]", "--public")

    result = image("show", "one")

    assert row(result, "id") == "one"
    assert row(result, "is_public") == "true"
    assert row(result, "checksum") == ""
    assert row(result, "property os_distro") == "debian"
    assert row(result, "property [bold]") == "[red]x[/red]"


def test_list_has_the_columns_that_people_look_for(image: Image) -> None:
    added(image, "--id", "one", "--name", "first [b]", "--size", 2_200_000_000, "--private")

    heading, line = image("list").stdout.splitlines()

    assert heading.split() == ["id", "name", "status", "disk", "format", "container", "format", "size"]
    assert line.split() == ["one", "first", "[b]", "active", "raw", "bare", "2.2", "GB"]


def test_list_goes_through_all_pages_in_the_order_asked_for(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 2)
    for name in "bdace":
        added(image, "--name", name)

    def names(*arguments: object) -> str:
        return "".join(entry["name"] for entry in json.loads(image("list", "--json", *arguments).stdout))

    assert names() == "ecadb"
    assert names("--sort", "name:asc") == "abcde"
    assert names("--sort", "name") == "edcba"
    assert names("--sort", "name:asc", "--limit", 3) == "abc"
    assert names("--limit", 0) == ""
    assert names("--limit", 9) == "ecadb"


@pytest.mark.parametrize("sort", ["nonsense", "name:", "name:up", ":asc", "name:asc:desc"])
def test_a_sort_that_is_not_is_refused_with_what_is(image: Image, sort: str) -> None:
    result = image("list", "--sort", sort)

    assert result.exit_code == 2
    assert "created_at" in result.stderr


def test_set_changes_what_is_given_and_leaves_the_rest(image: Image) -> None:
    before = added(image, "--id", "one", "--name", "n", "--property", "a=1", "--public")

    image("set", "one", "--name", "new", "--private", "--property", "b=2")

    after = shown(image, "one")
    changed = {"name": "new", "is_public": False, "properties": {"a": "1", "b": "2"}}
    assert after == {**before, **changed, "updated_at": after["updated_at"]}


def test_set_purges_the_properties_that_are_not_given_when_asked_to(image: Image) -> None:
    added(image, "--id", "one", "--property", "a=1", "--property", "b=2")

    image("set", "one", "--purge-properties", "--property", "b=3")
    assert shown(image, "one")["properties"] == {"b": "3"}

    image("set", "one", "--purge-properties")
    assert shown(image, "one")["properties"] == {}


def test_set_of_nothing_is_refused(image: Image) -> None:
    result = image("set", "one")

    assert result.exit_code == 2
    assert "nothing to change" in result.stderr


@pytest.mark.parametrize("given", ["a", "=b", ""])
def test_a_property_needs_a_name_and_a_value(image: Image, given: str) -> None:
    assert image("add", *FORMATS, "--property", given).exit_code == 2


def test_delete_deletes_all_that_it_can_and_says_what_it_could_not(image: Image) -> None:
    for image_id in ("one", "two"):
        added(image, "--id", image_id)
    added(image, "--id", "kept", "--protected")

    result = image("delete", "one", "none", "kept", "..", "two")

    assert result.stdout == "Deleted one.\nDeleted two.\n"
    assert result.exit_code == 1
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["none", "kept", ".."]
    assert "kept: Image kept is protected and cannot be deleted." in result.stderr
    assert [entry["id"] for entry in json.loads(image("list", "--json").stdout)] == ["kept"]


def test_delete_for_programs_prints_the_images_as_they_were_answered(image: Image) -> None:
    added(image, "--id", "one")

    result = image("delete", "one", "--json")

    assert [(entry["id"], entry["deleted"]) for entry in json.loads(result.stdout)] == [("one", True)]


@pytest.mark.parametrize("command", ["show", "delete"])
@pytest.mark.parametrize("image_id", [".", "..", "detail", "a/b", "../metrics", "?limit=1", "", "%2e", "é"])
def test_an_id_cannot_name_another_path(image: Image, command: str, image_id: str) -> None:
    result = image(command, image_id)

    assert result.exit_code == 1
    assert "Invalid image id" in result.stderr


def test_the_registry_s_sentence_is_printed(image: Image) -> None:
    missing = image("show", "none")
    wrong = image("add", "--disk-format", "iso", "--container-format", "bare")

    assert (missing.exit_code, missing.stderr) == (1, "Error: Image not found\n")
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("Error: Invalid disk format 'iso' for image.")
    assert missing.stdout == wrong.stdout == ""


EVIL = "\x1b]0;x\x07\x9b31m\u202e\n\x7f[red]"
STEERING = "\x1b\x07\x9b\u202e\x7f"


@pytest.mark.parametrize("arguments", [("list",), ("show", "one"), ("list", "--json"), ("show", "one", "--json")])
def test_what_an_image_holds_cannot_steer_the_terminal(image: Image, arguments: tuple[str, ...]) -> None:
    added(image, "--id", "one", "--name", EVIL, "--property", f"{EVIL}={EVIL}")

    result = image(*arguments)

    assert result.exit_code == 0
    assert not set(result.stdout) & set(STEERING)
    assert "[red]" in result.stdout


def test_json_has_the_values_unchanged(image: Image) -> None:
    added(image, "--id", "one", "--name", EVIL)

    assert shown(image, "one")["name"] == EVIL


def test_an_argument_that_is_not_utf_8_is_one_sentence(image: Image) -> None:
    result = image("add", *FORMATS, "--name", "\udcff")

    assert (result.exit_code, result.stderr) == (1, "Error: An argument is not valid UTF-8.\n")


def test_whoever_may_open_the_database_is_not_asked_for_an_identity(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_IDENTITY__MODE", "context")

    assert added(image, "--id", "one")["id"] == "one"


def test_a_real_server_is_spoken_to_over_http(invoke: Invoke, server: str) -> None:
    at_server = ("--server", server)
    invoke("image", "add", *at_server, *FORMATS, "--id", "one", "--name", "n")

    changed = invoke("image", "set", "one", *at_server, "--min-ram", 5, "--json")
    listed = invoke("image", "list", "--json", env={"GLANCE_REGISTRY_SERVER": server})
    deleted = invoke("image", "delete", "one", "two", *at_server)

    assert json.loads(changed.stdout)["min_ram"] == 5
    assert [entry["id"] for entry in json.loads(listed.stdout)] == ["one"]
    assert (deleted.stdout, deleted.stderr) == ("Deleted one.\n", "two: Image not found\n")


@pytest.mark.external
def test_a_database_on_the_command_outranks_the_environment_s_server(invoke: Invoke, sqlite_database: str) -> None:
    nowhere = {"GLANCE_REGISTRY_SERVER": f"http://127.0.0.1:{free_port()}"}

    result = invoke("--database", sqlite_database, "image", "list", "--json", env=nowhere)

    assert (result.exit_code, json.loads(result.stdout)) == (0, [])


def test_a_server_and_a_database_are_not_given_at_once(image: Image) -> None:
    result = image("list", "--server", "http://registry.test")

    assert result.exit_code == 2
    assert "not both" in result.stderr


@pytest.mark.parametrize(
    ("server", "sentence"),
    [
        ("http://{nowhere}", "The registry at http://{nowhere} cannot be reached: All connection attempts failed."),
        ("http://me:secret@{nowhere}", "The registry at http://{nowhere} cannot be reached"),
        ("nonsense", "missing an 'http://' or 'https://' protocol."),
        ("http://h:x", "The server's URL cannot be used"),
    ],
)
def test_a_server_that_cannot_be_reached_is_one_sentence(invoke: Invoke, server: str, sentence: str) -> None:
    nowhere = f"127.0.0.1:{free_port()}"

    result = invoke("image", "list", "--server", server.format(nowhere=nowhere))

    assert result.exit_code == 1
    assert sentence.format(nowhere=nowhere) in result.stderr
    assert "secret" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


@contextmanager
def answering(status: int, body: bytes, content_type: str = "application/json") -> Iterator[str]:
    """The URL of a server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.mark.external
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"\xff"),
        (200, b"{}"),
        (200, b'{"images": [5]}'),
        (200, b'{"images": [{"id": "always the same page"}]}'),
        (200, b"[" * 100_000),
        (300, b'{"versions": []}'),
    ],
)
def test_another_server_than_a_registry_is_recognised(invoke: Invoke, status: int, body: bytes) -> None:
    with answering(status, body) as url:
        result = invoke("image", "list", "--server", url)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: The server at {url} is not a registry.\n"


@pytest.mark.external
@pytest.mark.parametrize(
    ("body", "content_type", "sentence"),
    [
        (b'{"error": {"message": "No \\u001b[31m[red]."}}', "application/json", "No \\x1b[31m[red]."),
        (b'{"error": 5}', "application/json", "The registry answered 418 I'm a Teapot."),
        (b"Short\x9b and stout.\n", "text/plain; charset=latin-1", "Short\\x9b and stout."),
        (b"<h1>Teapot</h1>", "text/html", "The registry answered 418 I'm a Teapot."),
        (b"", "text/plain", "The registry answered 418 I'm a Teapot."),
        (b"x" * 100_000, "text/plain", "x" * client.MAX_SENTENCE_LENGTH),
    ],
)
def test_an_error_is_a_sentence_whatever_its_form(
    invoke: Invoke, body: bytes, content_type: str, sentence: str
) -> None:
    with answering(418, body, content_type) as url:
        result = invoke("image", "list", "--server", url)

    assert (result.exit_code, result.stderr) == (1, f"Error: {sentence}\n")


@pytest.mark.external
def test_a_server_that_does_not_answer_in_time_is_given_up(invoke: Invoke) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = invoke("image", "list", "--server", url, "--timeout", "0.05")

    assert (result.exit_code, result.stderr) == (1, f"Error: The registry at {url} did not answer in time.\n")
