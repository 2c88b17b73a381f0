# SPDX-License-Identifier: Apache-2.0
"""Small disk images with the names and sizes of those of the recording, made of headers alone.

There qemu-img made them (`README.md` of the recording). Whatever inspects a format reads headers: the rest is zeros.
"""

import gzip
import io
import random
import struct
import tarfile
from collections.abc import Callable
from uuid import UUID

MEBIBYTE = 1024 * 1024
DISK = 8 * MEBIBYTE
"""The virtual size of most of them."""

GD_AT_END = 0xFFFFFFFFFFFFFFFF
"""In a VMDK's header: the last sectors have the true header."""


def pattern(size: int) -> bytes:
    """The numbers 0, 1, 2 … with a blank after each, cut."""
    return b"".join(b"%d " % number for number in range(size // 2 + 1))[:size]


def qcow2(version: int, size: int, *, backing: bytes = b"", features: int = 0, encryption: int = 0) -> bytes:
    """`features`: those that a program must know to read the image; bit 2 is a file with the data."""
    header = struct.pack(">4sI", b"QFI\xfb", version)
    header += struct.pack(">QI", 512 if backing else 0, len(backing))
    header += struct.pack(">IQIIQQIIQ", 16, DISK, encryption, 1, 0x30000, 0x10000, 1, 0, 0)
    if version == 3:
        header += struct.pack(">QQQII", features, 0, 0, 4, 112)
    return _padded(_padded(header, 512) + backing, size)


def luks(size: int) -> bytes:
    header = struct.pack(">6sH32s32s32sII20s32sI", b"LUKS\xba\xbe", 1, b"aes", b"xts", b"sha256", 4040, 64, b"", b"", 1)
    return _padded(header, size)


def vmdk(kind: str, size: int, *, has_footer: bool = False, with_descriptor: bool = True) -> bytes:
    """A sparse extent with an embedded descriptor; `kind` is its createType."""
    descriptor = vmdk_descriptor(kind, f'RW {DISK // 512} SPARSE "disk.vmdk"') if with_descriptor else b""

    def header(directory: int) -> bytes:
        sectors = 20 if with_descriptor else 0
        return struct.pack(
            "<4sIIQQQQIQQ", b"KDMV", 3 if has_footer else 1, 3, DISK // 512, 128, 1 if sectors else 0, sectors, 512, 0,
            directory,
        )  # fmt: skip

    whole = _padded(header(GD_AT_END if has_footer else 26), 512) + descriptor
    if not has_footer:
        return _padded(whole, size)
    marker = struct.pack("<QII", 1, 0, 3)
    return _padded(whole, size - 3 * 512) + _padded(marker, 512) + _padded(header(26), 512) + bytes(512)


def vmdk_descriptor(kind: str, extent: str) -> bytes:
    return f"""# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="{kind}"

# Extent description
{extent}

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "16"
""".encode()


def vhd(size: int, virtual_size: int, *, is_dynamic: bool) -> bytes:
    """A fixed one has its header at the end, where a reader of streams does not look for it."""
    header = struct.pack(">8sIIQ", b"conectix", 2, 0x10000, 512)
    header = _padded(_padded(header, 40) + struct.pack(">QQ", virtual_size, virtual_size), 512)
    return _padded(header, size) if is_dynamic else bytes(size - 512) + header


def vhdx(size: int) -> bytes:
    metadata_at, item_at = 2 * MEBIBYTE, 64 * 1024
    image = bytearray(size)
    image[:8] = b"vhdxfile"
    region = UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E").bytes_le + struct.pack("<QII", metadata_at, MEBIBYTE, 1)
    _write(image, 192 * 1024, struct.pack("<4sIII", b"regi", 0, 1, 0) + region)
    item = UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8").bytes_le + struct.pack("<IIII", item_at, 8, 6, 0)
    _write(image, metadata_at, _padded(struct.pack("<8sHH", b"metadata", 0, 1), 32) + item)
    _write(image, metadata_at + item_at, struct.pack("<Q", DISK))
    return bytes(image)


def vdi(size: int) -> bytes:
    image = bytearray(size)
    _write(image, 0x40, struct.pack("<I", 0xBEDA107F))
    _write(image, 0x170, struct.pack("<Q", DISK))
    return bytes(image)


def iso(size: int) -> bytes:
    image = bytearray(size)
    _write(image, 32 * 1024, b"\x01CD001\x01")
    _write(image, 32 * 1024 + 80, struct.pack("<I", size // 2048))
    _write(image, 32 * 1024 + 128, struct.pack("<H", 2048))
    return bytes(image)


def partitioned(size: int, kind: int) -> bytes:
    """A disk with one partition; kind 0xEE stands for a GPT."""
    image = bytearray(size)
    start = (0, 2, 0, 1) if kind == 0xEE else (0, 33, 3, 2048)
    _write(image, 446, struct.pack("<B3BB3BII", 0, *start[:3], kind, 0, 0, 0, start[3], 1024))
    _write(image, 510, b"\x55\xaa")
    return bytes(image)


def tar(size: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        content = DISKS["v3.qcow2"](196_616)
        entry = tarfile.TarInfo("v3.qcow2")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return _padded(stream.getvalue()[:size], size)


def polyglot(size: int) -> bytes:
    return qcow2(3, 512) + iso(size)[512:]


DISKS: dict[str, Callable[[int], bytes]] = {
    "raw.raw": bytes,
    "pattern.raw": pattern,
    "random.raw": random.Random(16).randbytes,
    "text.txt": lambda size: b"just some text\n"[:size],
    "v3.qcow2": lambda size: qcow2(3, size),
    "v2.qcow2": lambda size: qcow2(2, size),
    "backing.qcow2": lambda size: qcow2(3, size, backing=b"base.img"),
    "datafile.qcow2": lambda size: qcow2(3, size, features=4),
    "encrypted.qcow2": lambda size: qcow2(3, size, encryption=2),
    "truncated.qcow2": lambda size: qcow2(3, 512)[:size],
    "luks.luks": luks,
    "stream.vmdk": lambda size: vmdk("streamOptimized", size, has_footer=True),
    "sparse.vmdk": lambda size: vmdk("monolithicSparse", size),
    "flat.vmdk": lambda size: _lines(vmdk_descriptor("monolithicFlat", 'RW 16384 FLAT "flat-flat.vmdk" 0'), size),
    "flat-flat.vmdk": bytes,
    "twogb.vmdk": lambda size: _lines(
        vmdk_descriptor("twoGbMaxExtentSparse", 'RW 16384 SPARSE "twogb-s001.vmdk"'), size
    ),
    "twogb-s001.vmdk": lambda size: vmdk("", size, with_descriptor=False),
    "dynamic.vhd": lambda size: vhd(size, 8_390_656, is_dynamic=True),
    "fixed.vhd": lambda size: vhd(size, size - 512, is_dynamic=False),
    "a.vhdx": vhdx,
    "a.vdi": vdi,
    "a.qed": lambda size: _padded(b"QED\0", size),
    "a.iso": iso,
    "gpt.raw": lambda size: partitioned(size, 0xEE),
    "mbr.raw": lambda size: partitioned(size, 0x83),
    "v3.qcow2.gz": lambda size: _padded(gzip.compress(qcow2(3, 196_616), mtime=0)[:size], size),
    "a.tar": tar,
    "polyglot.bin": polyglot,
}


def _padded(data: bytes, size: int) -> bytes:
    assert len(data) <= size
    return data + bytes(size - len(data))


def _lines(text: bytes, size: int) -> bytes:
    """A text with a comment at the end, to have the size."""
    return text[: size - 2].ljust(size - 1, b"#") + b"\n"


def _write(image: bytearray, at: int, data: bytes) -> None:
    image[at : at + len(data)] = data
