import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.vectors import decode_embedding


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_every_packed_vector_comes_back_as_its_numbers(numbers: list[float]) -> None:
    assert list(decode_embedding(struct.pack(f"<{len(numbers)}f", *numbers))) == numbers


@pytest.mark.parametrize("data", [b"", b"\x00\x00\x00", b"\x00" * 5])
def test_bytes_that_are_no_vector_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a vector"):
        decode_embedding(data)
