"""What a file is: a key made of its specification, its code and the keys of its inputs.

All of that is known before anything runs. The key of a file is in its name and in the file itself:
the workflow names files by it, and a step refuses inputs whose key is not that of their name, and
an output whose name has another key than its inputs and its specification give.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from advdetect.errors import AdvdetectError

KEY_DIGITS = 12
_KEY = re.compile(rf"\.([0-9a-f]{{{KEY_DIGITS}}})$")
#: Entries of a specification that change no result: names for readers, packages to record.
WORDS = ("_title_", "_schema_", "_score_", "_packages_", "_memory_")


def make_key(step: str, spec: Mapping[str, Any], code: str, **facts: object) -> str:
    """Return the key of what a step makes.

    Args:
        step: The step's name.
        spec: The method's specification; what is in `WORDS` does not count.
        code: Fingerprint of the step's and the method's source code.
        facts: Everything else that the result depends on: seed, name, keys of the inputs.

    Returns:
        12 hexadecimal digits; equal values (1 and 1.0, another order of names) have equal keys.
    """
    counting = {name: value for name, value in spec.items() if name not in WORDS}
    text = canonical_json({"step": step, "spec": counting, "code": code, **facts})
    return digest(text.encode())


def run_of(model: Mapping[str, Any], code: str, train: str, others: Iterable[str] = ()) -> str:
    """Return what identifies a run: a model and its training images, whatever the seed.

    Args:
        model: The model's specification.
        code: Fingerprint of its code.
        train: Key of the training split.
        others: What identifies the runs of the models that it is made from.
    """
    made_from = list(others)
    more = {"others": made_from} if made_from else {}
    return make_key("run", model, code, train=train, **more)


def digest(content: bytes) -> str:
    """Return the hash of some bytes, as long as a key."""
    return hashlib.sha256(content).hexdigest()[:KEY_DIGITS]


def canonical_json(value: object) -> str:
    """Return JSON text that is the same for equal values, whatever the order of their keys."""
    return json.dumps(normalized(value), sort_keys=True, ensure_ascii=False)


def normalized(value: Any) -> Any:
    """Return the value with whole floats as integers: 1.0 is 1, in a name as in a key."""
    if isinstance(value, Mapping):
        return {key: normalized(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [normalized(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def key_in_name(path: str | Path) -> str | None:
    """Return the key that a file's name says it has: its own, or else that of its folder.

    ``fgsm.77aa11c0ffee.safetensors`` is named itself; ``lenet5.a81c22c0ffee/model.safetensors`` by
    its folder; other files are not named by what made them.
    """
    path = Path(path)
    for name in (path.with_suffix("").name, path.parent.name):
        if found := _KEY.search(name):
            return found[1]
    return None


def name_without_key(path: str | Path) -> str:
    """Return a file's name without its suffix and its key."""
    return _KEY.sub("", Path(path).with_suffix("").name)


def check_input(path: str | Path, facts: Mapping[str, Any]) -> str:
    """Return the key of a file that is read, empty where it has none.

    Args:
        path: The file.
        facts: Its provenance.

    Raises:
        AdvdetectError: It is another file than its name says.
    """
    key, named = facts.get("key", ""), key_in_name(path)
    if named and named != key:
        raise AdvdetectError(
            f"{path} is another file than its name says (key {key or 'missing'}, step "
            f"{facts.get('step', 'unknown')}): delete it and run again, and it is made anew."
        )
    return key


def check_output(paths: Iterable[str | Path], key: str) -> None:
    """Check that files to be written are named by what they will be.

    Raises:
        AdvdetectError: A name has another key.
    """
    for path in paths:
        if (named := key_in_name(path)) and named != key:
            raise AdvdetectError(
                f"{path} is to be made from other inputs or settings than those given, which make "
                f"{key}: name the output otherwise, or give the inputs that belong to it."
            )
