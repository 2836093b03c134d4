"""Objects such as fitted estimators as JSON and plain arrays, read back without running a pickle.

An object is taken apart as Python itself does it for a copy (``__reduce_ex__``): the class or
function that makes it, what that is called with, and its state. What a file may name is limited:
classes of scikit-learn and of packages that the caller names, and what `_TRUSTED` lists.
"""

import copyreg
import importlib
import json
from collections.abc import Callable, Collection
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

_PACKAGES = frozenset({"sklearn", "advdetect"})
# Functions that make an empty object, which its state then fills, and types that hold only values.
_TRUSTED = frozenset(
    {
        *("builtins:set", "builtins:frozenset", "builtins:slice", "builtins:range"),
        *("builtins:complex", "builtins:bytearray", "builtins:object", "builtins:bytes"),
        *("collections:OrderedDict", "collections:defaultdict", "functools:partial"),
        *("copyreg:_reconstructor", "copyreg:__newobj__"),
        *("numpy.random._pickle:__randomstate_ctor", "numpy.random._pickle:__generator_ctor"),
        *("numpy.random._pickle:__bit_generator_ctor", "numpy.random._mt19937:MT19937"),
        *("numpy.random._pcg64:PCG64", "numpy.random.bit_generator:SeedSequence"),
        "numpy.random.bit_generator:__pyx_unpickle_SeedSequence",
        *("scipy.sparse._csr:csr_matrix", "scipy.sparse._csr:csr_array"),
        *("scipy.sparse._csc:csc_matrix", "scipy.sparse._csc:csc_array"),
    }
)
# What Cython and scikit-learn's trees of neighbours call theirs.
_MAKERS = ("__pyx_unpickle_", "newObj")
_TAG = "type"  # of what JSON has no type of its own for


def encode(value: Any, packages: Collection[str] = ()) -> tuple[str, bytes]:
    """Take an object apart.

    Args:
        value: The object.
        packages: Packages besides scikit-learn and NumPy whose types it may hold.

    Returns:
        Its structure as JSON, and the values of all its arrays.

    Raises:
        TypeError: It holds what cannot be kept or would not be read back.
    """
    encoder = _Encoder(packages)
    try:
        structure = encoder.encode(value)
    except RecursionError as error:
        raise TypeError("it holds itself") from error
    return json.dumps(structure, separators=(",", ":")), b"".join(encoder.chunks)


def decode(structure: str, arrays: bytes, packages: Collection[str] = ()) -> Any:
    """Put an object together again that `encode` took apart.

    Raises:
        TypeError: It names a class or function that is not trusted or not there.
    """
    return _Decoder(arrays, packages).decode(json.loads(structure))


class _Encoder:
    """Collects the arrays of an object beside its structure."""

    def __init__(self, packages: Collection[str]) -> None:
        self.chunks: list[bytes] = []
        self._offset = 0
        self._packages = packages

    def encode(self, value: Any) -> Any:
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) is list:
            return [self.encode(item) for item in value]
        if type(value) is tuple:
            return {_TAG: "tuple", "items": [self.encode(item) for item in value]}
        if type(value) is dict:
            pairs = [[self.encode(key), self.encode(item)] for key, item in value.items()]
            return {_TAG: "dict", "items": pairs}
        if type(value) is bytes:
            return {_TAG: "bytes", "hex": value.hex()}
        if isinstance(value, np.dtype):
            return {_TAG: "dtype", "is": _describe(value)}
        if type(value) is np.ndarray:
            return self._array(value)
        if isinstance(value, np.generic) and not value.dtype.hasobject:
            return {_TAG: "scalar", "array": self._array(np.asarray(value))}
        if isinstance(value, np.ufunc):
            return {_TAG: "ufunc", "name": value.__name__}
        if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
            return {_TAG: "name", "name": self._name(value)}
        return self._object(value)

    def _array(self, value: np.ndarray) -> Any:
        if value.dtype.hasobject:
            items = [self.encode(item) for item in value.ravel().tolist()]
            return {_TAG: "objects", "shape": value.shape, "items": items}
        by_columns = value.flags.f_contiguous and not value.flags.c_contiguous
        # Kept, since sums depend on it in their last digit.
        content = value.tobytes(order="F" if by_columns else "C")
        start, self._offset = self._offset, self._offset + len(content)
        self.chunks.append(content)
        return {
            _TAG: "array",
            "dtype": _describe(value.dtype),
            "shape": value.shape,
            "order": "F" if by_columns else "C",
            "start": start,
        }

    def _object(self, value: Any) -> Any:
        reduce = copyreg.dispatch_table.get(type(value))
        parts = reduce(value) if reduce else value.__reduce_ex__(4)
        if isinstance(parts, str):
            return {_TAG: "name", "name": self._name(value)}
        make, arguments, state, items, pairs = (*parts, None, None, None)[:5]
        return {
            _TAG: "object",
            "make": self._maker(make),
            "arguments": [self.encode(argument) for argument in arguments],
            "state": self.encode(state),
            "items": self.encode(list(items or ())),
            "pairs": self.encode(list(pairs or ())),
        }

    def _maker(self, value: Any) -> str:
        name = self._name(value)
        _locate_maker(name, self._packages)
        return name

    def _name(self, value: Any) -> str:
        name = f"{value.__module__}:{value.__qualname__}"
        if _locate(name, self._packages) is not value:
            raise TypeError(f"{name} is not what that name stands for")
        return name


class _Decoder:
    """Puts an object together from its structure and its arrays."""

    def __init__(self, arrays: bytes, packages: Collection[str]) -> None:
        self._arrays = arrays
        self._packages = packages

    def decode(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        return getattr(self, f"_{value[_TAG]}")(value)

    def _tuple(self, value: Any) -> Any:
        return tuple(self.decode(item) for item in value["items"])

    def _dict(self, value: Any) -> Any:
        return {self.decode(key): self.decode(item) for key, item in value["items"]}

    def _bytes(self, value: Any) -> Any:
        return bytes.fromhex(value["hex"])

    def _dtype(self, value: Any) -> Any:
        return _dtype(value["is"])

    def _scalar(self, value: Any) -> Any:
        return self._array(value["array"])[()]

    def _ufunc(self, value: Any) -> Any:
        function = getattr(np, value["name"], None)
        if not isinstance(function, np.ufunc):
            raise TypeError(f"NumPy has no function {value['name']}")
        return function

    def _name(self, value: Any) -> Any:
        return _locate(value["name"], self._packages)

    def _objects(self, value: Any) -> Any:
        array = np.empty(len(value["items"]), dtype=object)
        array[:] = [self.decode(item) for item in value["items"]]
        return array.reshape(value["shape"])

    def _array(self, value: Any) -> Any:
        dtype, shape = _dtype(value["dtype"]), value["shape"]
        count = int(np.prod(shape, dtype=np.int64))
        if not count:
            return np.empty(shape, dtype=dtype)
        flat = np.frombuffer(self._arrays, dtype, count, value["start"])
        return flat.copy().reshape(shape, order=value["order"])  # a copy may be written to

    def _object(self, value: Any) -> Any:
        make = _locate_maker(value["make"], self._packages)
        made = make(*(self.decode(argument) for argument in value["arguments"]))
        state = self.decode(value["state"])
        if hasattr(made, "__setstate__") and state is not None:
            made.__setstate__(state)
        elif state is not None:
            attributes, slots = state if isinstance(state, tuple) else (state, None)
            for name, item in {**(attributes or {}), **(slots or {})}.items():
                setattr(made, name, item)
        for item in self.decode(value["items"]):
            made.append(item)
        for key, item in self.decode(value["pairs"]):
            made[key] = item
        return made


def _locate(name: str, packages: Collection[str]) -> Any:
    """Return what a file names, if it may.

    Raises:
        TypeError: It is not trusted or not there.
    """
    module, _, path = name.partition(":")
    if name not in _TRUSTED and module.partition(".")[0] not in {*_PACKAGES, *packages}:
        raise TypeError(
            f"it holds {name}, which is of none of the packages that a detector may be made of "
            f"({', '.join(sorted({*_PACKAGES, *packages}))}, numpy)"
        )
    try:
        found = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise TypeError(f"{name} is not there ({error})") from error
    # What a trusted module has imported is not its own: subprocess.Popen is a class, too.
    own = f"{getattr(found, '__module__', None)}:{getattr(found, '__qualname__', None)}"
    if name not in _TRUSTED and own != name:
        raise TypeError(f"{name} is {own} by another name")
    return found


def _locate_maker(name: str, packages: Collection[str]) -> Callable[..., Any]:
    """Return what makes an object: a class, or a function that only does that."""
    found = _locate(name, packages)
    function = name.rpartition(":")[2]
    if name in _TRUSTED or isinstance(found, type) or function.startswith(_MAKERS):
        return found
    raise TypeError(f"{name} is called, but no class")


def _describe(dtype: Any) -> Any:
    """Return a description of a dtype in JSON: text, or the fields of a structured one."""
    if dtype.names is None:
        return dtype.str
    return {
        "names": dtype.names,
        "formats": [_describe(dtype.fields[name][0]) for name in dtype.names],
        "offsets": [dtype.fields[name][1] for name in dtype.names],
        "itemsize": dtype.itemsize,
    }


def _dtype(described: Any) -> Any:
    if isinstance(described, str):
        return np.dtype(described)
    fields: Any = {**described, "formats": [_dtype(each) for each in described["formats"]]}
    return np.dtype(fields)
