# SPDX-License-Identifier: Apache-2.0
"""Bytes of images up and down with the clients of PyPI, in each identity mode.

Every client compares the digests that it is told with its own while it downloads.
"""

import hashlib
import random
from pathlib import Path

import pytest
from tests.clients.callers import Caller, Refused

SIZE = 5 * 1024**2
"""Several chunks of every client and of ours, and no multiple of the last one."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bytes") / "disk.raw"
    path.write_bytes(random.Random(16).randbytes(SIZE + 7))
    return path


def digests(file: Path) -> tuple[str, str, str]:
    data = file.read_bytes()
    return hashlib.md5(data).hexdigest(), "sha512", hashlib.sha512(data).hexdigest()


@pytest.mark.parametrize("options", ["", "--progress"])
def test_openstack_creates_an_image_of_a_file_and_saves_it(
    member: Caller, tag: str, file: Path, tmp_path: Path, options: str
) -> None:
    made = member.see(f"image create --file {file} --disk-format raw --container-format bare {options} {tag}")

    assert (made["status"], made["size"], made["virtual_size"]) == ("active", SIZE + 7, SIZE + 7)
    of_hash = (made["properties"]["os_hash_algo"], made["properties"]["os_hash_value"])
    assert (made["checksum"], *of_hash) == digests(file)
    assert made["properties"]["stores"] == "local"
    member.run(f"image save --chunk-size 65536 --file {tmp_path / tag} {tag}")
    assert (tmp_path / tag).read_bytes() == file.read_bytes()


def test_openstack_takes_bytes_of_unknown_length_from_a_pipe(
    member: Caller, tag: str, file: Path, tmp_path: Path
) -> None:
    member.run(f"image create --disk-format raw --container-format bare {tag}", piped=file)

    assert member.see(f"image show {tag}")["size"] == SIZE + 7
    member.run(f"image save --chunk-size 65536 --file {tmp_path / tag} {tag}")
    assert (tmp_path / tag).read_bytes() == file.read_bytes()


def test_openstack_says_why_bytes_are_refused_and_removes_the_image(member: Caller, tag: str, file: Path) -> None:
    failed = member.fail(f"image create --file {file} --disk-format qcow2 {tag}")

    assert "disk_format is qcow2, but its bytes are raw" in failed
    assert member.names(f"--name {tag}") == []


def test_the_sdk_creates_an_image_of_a_file_and_downloads_it(
    member: Caller, tag: str, file: Path, tmp_path: Path
) -> None:
    made = member.sdk(
        "image.create_image",
        tag,
        filename=str(file),
        disk_format="raw",
        container_format="bare",
        validate_checksum=True,
        allow_duplicates=True,
    )

    shown = member.sdk("image.get_image", made["id"])
    assert (shown["status"], shown["size"]) == ("active", SIZE + 7)
    assert (shown["checksum"], shown["hash_algo"], shown["hash_value"]) == digests(file)
    for name, preferred in (("first", None), ("second", ["local"])):
        output = str(tmp_path / name)
        member.sdk("image.download_image", made["id"], stream=True, output=output, store_preferences=preferred)
        assert (tmp_path / name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("is_piped", [False, True])
def test_glance_uploads_and_downloads_with_a_progress_bar(
    member: Caller, tag: str, file: Path, tmp_path: Path, is_piped: bool
) -> None:
    """It always sends chunks, and says how long they are only if it knows."""
    image_id = member.glance("images.create", name=tag, disk_format="raw", container_format="bare")["id"]
    output = tmp_path / tag

    member.run_glance(
        f"image-upload --progress {image_id}" if is_piped else f"image-upload --progress --file {file} {image_id}",
        piped=file if is_piped else None,
    )
    member.run_glance(f"image-download --progress --file {output} {image_id}")

    shown = member.glance("images.get", image_id)
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", SIZE + 7, "local")
    assert (shown["checksum"], shown["os_hash_algo"], shown["os_hash_value"]) == digests(file)
    assert output.read_bytes() == file.read_bytes()


def test_glance_is_told_of_a_second_upload_and_of_an_unknown_store(member: Caller, tag: str, file: Path) -> None:
    image_id = member.glance("images.create", name=tag, disk_format="raw", container_format="bare")["id"]

    with pytest.raises(Refused, match=r"HTTPBadRequest.*no store 'none'"):
        member.glance("images.upload", image_id, "text", backend="none")
    member.run_glance(f"image-upload --file {file} --store local {image_id}")
    with pytest.raises(Refused, match="HTTPConflict"):
        member.glance("images.upload", image_id, "text")


def test_glance_shows_how_much_of_its_limits_a_project_has_used(member: Caller) -> None:
    out = member.run_glance("usage")

    names = {"image_size_total", "image_count_total", "image_count_uploading"}
    assert {line.split("|")[1].strip() for line in out.splitlines()[3:-1]} == (names if member.project else set())
