"""Whether an ONNX graph keeps weights outside of its file, found in the file's own fields, without the library that writes them."""

from collections.abc import Iterator

from workbench.errors import WorkError

PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""By kind of message: the fields that hold messages of interest (onnx.proto)."""
LOWER = 2**32 - 1
NAME, ELSEWHERE, LOCATION = 8, 13, 14
"""Fields of a tensor: its name, where its data are, and whether they are elsewhere at all."""


DEEPEST = 100
"""Messages inside one another, as protobuf itself reads them."""


def external_tensors(content: bytes) -> list[str]:
    """Names of the tensors whose data are in another file. Raises WorkError for what is no ONNX."""
    return list(_of(memoryview(content), "model", 0))


def _of(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > DEEPEST:
        raise WorkError(f"a graph of the bundle is no ONNX: its messages are more than {DEEPEST} deep.")
    if kind == "tensor":
        fields = list(_fields(message))
        places = {value & LOWER for number, value in fields if number == LOCATION and isinstance(value, int)}
        if 1 in places or any(number == ELSEWHERE for number, _ in fields):
            yield next(
                (bytes(value).decode(errors="replace") for number, value in fields if number == NAME and not isinstance(value, int)), ""
            )
        return
    for number, value in _fields(message):
        part = PARTS[kind].get(number)
        if part and not isinstance(value, int):
            yield from _of(value, part, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and content of each field: a number, or the bytes of what has a length."""
    place = 0
    try:
        while place < len(message):
            key, place = _varint(message, place)
            if key > LOWER:  # others read the lower bits alone: another field than this one
                raise IndexError
            match key & 7:
                case 0:
                    value, place = _varint(message, place)
                    yield key >> 3, value
                    continue
                case 1:
                    size = 8
                case 2:
                    size, place = _varint(message, place)
                case 5:
                    size = 4
                case _:
                    raise IndexError
            if place + size > len(message):
                raise IndexError
            yield key >> 3, message[place : place + size]
            place += size
    except IndexError:
        raise WorkError("a graph of the bundle is no ONNX: its fields cannot be read.") from None


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise IndexError
