"""An encoder that a run starts from: what becomes of it, and what the run's arm is called then."""

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import cpc_rl
from agents.arms import Arm
from agents.configuration import RunConfiguration
from agents.errors import UserError
from agents.recipe import Recipe

if TYPE_CHECKING:  # nothing here imports the command line when it runs
    from train_agent import Arguments

EncoderTrain = Literal["fine-tune", "frozen"]
FLAGS = {
    "encoder_name": "--encoder-name",
    "encoder_train": "--encoder-train",
    "unfreeze_at": "--unfreeze-at",
    "lr_scale": "--lr-scale",
}


def encoder_label(arguments: "Arguments") -> str:
    """
    What stands behind the ``@`` of an arm: the encoder's name, and how it is trained where that is not as the rest.

    Without ``--encoder-name`` the name is the file's, or the folder's if the file is called ``encoder.safetensors``, with the
    one before it if that is a seed's.

    :return: such as ``atc``, ``atc-frozen``, ``atc-frozen-20000-lr0.1``; empty without an encoder
    :raises UserError: what was asked for cannot be done
    """
    if arguments.encoder is None:
        given = [flag for name, flag in FLAGS.items() if getattr(arguments, name) is not None]
        if given:
            raise UserError(f"{given[0]} says what becomes of a loaded encoder, so it needs --encoder FILE.")
        return ""
    if not arguments.encoder.is_file():
        raise UserError(f"--encoder {arguments.encoder} is no file.")
    name = arguments.encoder_name or derived_name(arguments.encoder)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise UserError(f"--encoder-name names a folder and takes letters, digits, '.', '_' and '-', not {name!r}.")
    frozen, at, scale = arguments.encoder_train == "frozen", arguments.unfreeze_at, arguments.lr_scale
    try:
        cpc_rl.TransferCallback("frozen" if frozen else "fine-tune", at, 1.0 if scale is None else scale)
    except ValueError as error:
        raise UserError(str(error)) from None
    words = [name, *(["frozen"] if frozen else []), *([str(at)] if at is not None else [])]
    return "-".join([*words, *([f"lr{scale:g}"] if scale not in (None, 1.0) else [])])


def encoder_sha256(file: Path) -> str:
    """
    What tells an encoder's file from another one at the same place: SHA-256 of its contents, as hexadecimal digits.

    :raises UserError: it cannot be read
    """
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"--encoder {file} cannot be read: {error.strerror}.") from None


def check_unchanged(configuration: RunConfiguration) -> None:
    """
    See that the encoder's file is the one that the run was configured with.

    :raises UserError: it is another one now, or cannot be read
    """
    wanted = configuration.encoder_sha256
    if configuration.encoder is not None and wanted is not None and encoder_sha256(Path(configuration.encoder)) != wanted:
        raise UserError(
            f"{configuration.encoder} holds another encoder than when this run was configured: put the old one back, or train "
            "from the new one under another --encoder-name or with --overwrite."
        )


def derived_name(file: Path) -> str:
    """A name for an encoder's file, from the path alone."""
    name, folder = file.stem, file.resolve().parent
    if file.name == "encoder.safetensors":
        name = f"{folder.parent.name}-{folder.name}" if re.fullmatch(r"seed-\d+", folder.name) else folder.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "encoder"


def check_head_has_work(arm: Arm, recipe: Recipe, arguments: "Arguments") -> None:
    """
    See that an arm's objective gets to train.

    :raises UserError: the encoder is frozen for the whole run, and the head has no gradient of its own
    """
    timesteps = arguments.timesteps or recipe.timesteps
    for_good = arguments.unfreeze_at is None or arguments.unfreeze_at >= timesteps
    separate = recipe.callback.get("gradient") == "separate" or recipe.algorithm == "trpo"
    rests = arguments.encoder_train == "frozen" and for_good and not separate
    if arm.compute and rests:
        raise UserError(
            f"The arm {arm.name!r} makes up for the time that a head takes, and while the encoder is frozen a joint head "
            f"takes none: give an --unfreeze-at below {timesteps}, or take --objective none."
        )
    if arm.objectives and rests:
        raise UserError(
            f"The arm {arm.name!r} would train nothing: a joint head rests while the encoder is frozen. "
            f"Give an --unfreeze-at below {timesteps}, or take --objective none."
        )


def transfer_callback(configuration: RunConfiguration) -> cpc_rl.TransferCallback | None:
    """What keeps the encoder frozen or slows it down; ``None`` if it is trained like the rest of the agent."""
    if configuration.encoder is None:
        return None
    train = configuration.encoder_train
    if train not in get_args(EncoderTrain):
        raise UserError(f"encoder_train is {train!r}, but it is 'fine-tune' or 'frozen'.")
    callback = cpc_rl.TransferCallback(
        "frozen" if train == "frozen" else "fine-tune", configuration.unfreeze_at, configuration.lr_scale
    )
    return None if callback.idle else callback
