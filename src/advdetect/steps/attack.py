"""Attack the clean-correct test images and verify every success from the stored file."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from advdetect import naming, provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError
from advdetect.files.attack import STAGE
from advdetect.identity import key_in_name, make_key
from advdetect.progress import report
from advdetect.seeding import derive_seed
from advdetect.steps import options
from advdetect.steps.batches import images_at_a_time
from advdetect.steps.classifier import add_judged, given_model, judged
from advdetect.steps.crafting import Attack, Instance, Values, craft
from advdetect.steps.images import read_correct
from advdetect.steps.judging import Victims, describe_model, report_success

SWEEP = "_sweep_"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/attack/fgsm.yaml")
    options.add_seed(parser)
    options.add_runtime(parser)
    parser.add_argument(
        "--name",
        required=True,
        help="name of the attack; what is before its first comma is for its random numbers, so "
        "that the values of a sweep have the same",
    )
    parser.add_argument(
        "--sweep",
        type=options.json_value,
        default={},
        metavar="JSON",
        help="values of the swept parameters by name of the attack, as in "
        '{"cw_l2,kappa=0": {"kappa": 0}, "cw_l2,kappa=5": {"kappa": 5}}: where files of these '
        "attacks are missing beside the output, their images are computed in the same batches and "
        "kept for their own jobs",
    )
    add_judged(parser)
    parser.add_argument("--output", required=True, help="file to write: the adversarial images")


def run(arguments: argparse.Namespace) -> None:
    """Craft, judge and write the images piece by piece; move the file to its place."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    model = given_model(arguments, device)
    data = read_split(arguments.test)
    victims = Victims(model, data, read_correct(arguments.clean), arguments.seed, device)
    attack = _attack(arguments, spec, victims)

    # Without --code, what was made with other code looks the same.
    attack.writer.remove_unfinished(keep_own=bool(arguments.code))
    size = images_at_a_time(
        arguments,
        f"attack {arguments.name}",
        model,
        victims.images(range(1)).to(device),
        spec,
    )
    craft(attack, victims, size)
    columns = attack.writer.columns("success", "crafted_success", "l2")
    attack.writer.publish()
    if withdrawn := int((columns["crafted_success"] & ~columns["success"]).sum()):
        report(
            f"attack {arguments.name}: {withdrawn} claimed successes do not fool the model from "
            f"the stored file and count as failures"
        )
    report_success("attack", arguments.name, arguments.seed, columns)


def _attack(arguments: argparse.Namespace, spec: Mapping[str, Any], victims: Victims) -> Attack:
    """Return the attack with its sweep; each instance has the key of all that it depends on."""
    over, name = spec.get(SWEEP, {}).get("over", []), arguments.name
    model = describe_model(arguments.model)
    instances = []
    for other, values in _sweep(arguments, spec, over).items():
        own = {**spec, **values}
        facts = provenance.describe(
            STAGE,
            own,
            arguments.code,
            inputs=judged(arguments),
            outputs=[arguments.output] if other == name else [],
            keyed={"name": other, "seed": arguments.seed},
            device=victims.device.type,
            threads=arguments.threads,
            class_names=victims.data.class_names,
            crafted_on=model,
            judged_on=model,
        )
        path = Path(arguments.output)
        if other != name:  # named by its key, if the first one is
            key = f".{facts['key']}" if key_in_name(path.name) else ""
            path = path.with_name(f"{other}{key}.safetensors")
        instances.append(Instance(other, values, victims.writer(path, facts)))
    return Attack(
        name,
        instances,
        _bind(spec, over, is_sweep=len(instances) > 1),
        derive_seed(arguments.seed, "attack", naming.family(name)),
        minimal_norm=spec.get("_minimal_norm_", False),
        work=make_key(
            STAGE,
            {key: value for key, value in spec.items() if key not in over},
            arguments.code,
            inputs=instances[0].writer.facts["inputs"],
        ),
    )


def _sweep(
    arguments: argparse.Namespace, spec: Mapping[str, Any], over: Sequence[str]
) -> Mapping[str, Values]:
    """Return the values of the sweep by name, the attack among them; without a sweep it alone."""
    name = arguments.name
    sweep = arguments.sweep or {name: {key: spec[key] for key in over}}
    if name not in sweep or any(sorted(values) != sorted(over) for values in sweep.values()):
        raise AdvdetectError(
            f"--sweep must give the attack {name} and others a value for each parameter that the "
            f"specification sweeps over ({', '.join(over) or 'none'})."
        )
    if len(sweep) > 1 and not arguments.code:
        raise AdvdetectError("--sweep needs --code: what is kept for other jobs is named by it.")
    return sweep


def _bind(spec: Mapping[str, Any], over: Sequence[str], is_sweep: bool) -> Callable[..., Any]:
    """Return the attack, for a sweep the function that takes ``variants=``."""
    if not is_sweep:
        return options.bind_target(spec, "_target_", positional=3, given=["generator"])
    common = {name: value for name, value in spec.items() if name not in over}
    return options.bind_target(
        common | {"_target_": spec[SWEEP]["_target_"]},
        "_target_",
        positional=3,
        given=["generator", "variants"],
    )
