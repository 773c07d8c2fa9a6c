"""Packing whose first bytes can be replaced, read by zlib, which knows nothing of how it was made."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.io.gzipped import head_of, pack, replace_head


@given(payload=st.binary(max_size=3000), head=st.integers(0, 400), other=st.binary(min_size=400, max_size=400))
def test_any_gzip_reader_gets_the_bytes_and_the_new_head(payload, head, other):
    head = min(head, len(payload))
    packed = pack(payload, head)
    assert gzip.decompress(packed) == payload
    assert packed == pack(payload, head)
    assert head_of(packed, head) == head_of(gzip.compress(payload), head) == payload[:head]
    changed = other[:head] + payload[head:]
    replaced = replace_head(packed, other[:head])
    assert gzip.decompress(replaced) == changed
    assert replaced == pack(changed, head)
    # what follows the head was not packed anew, but for the checksum
    assert replaced[15 + head : -8] == packed[15 + head : -8]


def test_a_file_of_another_program_is_packed_anew():
    payload = b"\0" * 348 + bytes(range(256)) * 50
    replaced = replace_head(gzip.compress(payload), b"\1" * 352)
    assert gzip.decompress(replaced) == b"\1" * 352 + payload[352:]


@pytest.mark.parametrize("at", [100, 20_000])
def test_damage_is_noticed(at):
    packed = bytearray(pack(bytes(range(256)) * 200, 352))
    packed[min(at, len(packed) - 20)] ^= 1
    with pytest.raises((gzip.BadGzipFile, EOFError, zlib.error)):
        gzip.decompress(bytes(packed))
