"""gzip by ISA-L: heatmaps as small as by zlib's level 4, in a tenth of the time; a head that can be changed later."""

from __future__ import annotations

import struct

from isal import igzip, isal_zlib

# a member without name and time (RFC 1952, 2.3), and deflate's stored block of so many bytes (RFC 1951, 3.2.4)
_MEMBER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_BLOCK = struct.Struct("<BHH")
_MOST_HEAD = 0xFFFF
_END = struct.Struct("<II")  # checksum and length


def pack(payload: bytes, head: int) -> bytes:
    """Pack bytes, the first `head` of them as they are, which `replace_head` can change; the same bytes give the same.

    Parameters
    ----------
    payload : bytes
        What is packed; less than 4 GiB.
    head : int
        How many bytes of it, at most 65535, may be replaced later.
    """
    packer = isal_zlib.compressobj(2, wbits=-15)
    rest = packer.compress(memoryview(payload)[head:]) + packer.flush()
    return _begin(head) + payload[:head] + rest + _END.pack(isal_zlib.crc32(payload), len(payload))


def head_of(packed: bytes, head: int) -> bytes:
    """Return the first `head` bytes of what is packed, by `pack` or by another program."""
    begin = _begin(head)
    if packed.startswith(begin):
        return packed[len(begin) : len(begin) + head]
    unpacked: bytes = igzip.decompress(packed)
    return unpacked[:head]


def replace_head(packed: bytes, head: bytes) -> bytes:
    """Return a packed file whose first bytes are `head`; what follows is not packed anew if `pack` did it.

    Parameters
    ----------
    packed : bytes
        The file as it is.
    head : bytes
        As many as were given to `pack`.
    """
    begin = _begin(len(head))
    if not packed.startswith(begin):
        unpacked: bytes = igzip.decompress(packed)
        return pack(head + unpacked[len(head) :], len(head))
    first = len(begin) + len(head)
    checksum, length = _END.unpack(packed[-_END.size :])
    # a checksum is linear: the bytes that stay count as zeros in what a change of the others makes of it
    rest = memoryview(bytes(length - len(head)))
    for one in (packed[len(begin) : first], head):
        checksum ^= isal_zlib.crc32(rest, isal_zlib.crc32(one))
    return begin + head + packed[first : -_END.size] + _END.pack(checksum, length)


def _begin(head: int) -> bytes:
    return _MEMBER + _BLOCK.pack(0, head, _MOST_HEAD - head)
