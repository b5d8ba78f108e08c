"""Where a head attaches: the features extractors of an SB3 model and the optimisers that train them."""

from collections.abc import Mapping
from dataclasses import dataclass

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.optim import Optimizer

from cpc_rl.encoder import IMAGE, Encoder

ENCODERS = ("critic", "actor", "both", "tied")


@dataclass(frozen=True)
class Site:
    """
    One features extractor that an optimiser trains.

    :param role: ``"actor"`` or ``"critic"`` where the model has one for each, else ``"shared"``
    :param path: of the extractor in the policy
    :param extractor: the agent's own module
    :param encoder: the image part of it, as the head sees it
    :param optimizers: those that hold its parameters; the first is the one that moves them
    """

    role: str
    path: str
    extractor: BaseFeaturesExtractor
    encoder: Encoder
    optimizers: tuple[Optimizer, ...]


def find_sites(model: BaseAlgorithm) -> list[Site]:
    """
    The trained features extractors of any SB3 or sb3-contrib model, target networks left out.

    :raises ValueError: if there is nothing that a head could train, saying why
    """
    name = type(model).__name__
    optimizers = _optimizers(model.policy)
    if not optimizers:
        raise ValueError(f"{name} trains its policy without an optimiser, so there is no gradient that a head could join.")
    candidates: dict[str, tuple[BaseFeaturesExtractor, tuple[Optimizer, ...]]] = {}
    for path, module in outermost_extractors(model.policy).items():
        parameters = {id(p) for p in module.parameters()}
        owners = tuple(o for o in optimizers if any(id(p) in parameters for group in o.param_groups for p in group["params"]))
        if owners and all(module is not other for other, _ in candidates.values()):
            candidates[path] = module, owners
    if not candidates:
        found = list(outermost_extractors(model.policy).values())
        named = [module for path, module in paths(model.policy).items() if path.endswith("features_extractor")]
        if named and not found:
            raise ValueError(
                f"The features extractor of this {name} ({type(named[0]).__name__}) is no BaseFeaturesExtractor of "
                "Stable-Baselines3, by which a head knows extractors: derive its class from that one."
            )
        extractor = type(next(iter(found), None)).__name__
        if any(parameter.requires_grad for module in found for parameter in module.parameters()):
            raise ValueError(
                f"No optimiser of this {name}'s policy, its actor or its critic (their attribute optimizer) holds the "
                f"parameters of the features extractor ({extractor}), so a head's gradient would move nothing."
            )
        remedy = _normalised_images(model) or (
            "Use image observations with 'CnnPolicy' or 'MultiInputPolicy', or pass an extractor in policy_kwargs."
        )
        raise ValueError(
            f"The features extractor of this {name} ({extractor}) has no trainable parameters, so a head has nothing to "
            f"train. {remedy}"
        )
    roles = ["shared"] if len(candidates) == 1 else [_role(path, name) for path in candidates]
    return [
        Site(role, path, module, make_encoder(module, model.policy.observation_space, model.policy.normalize_images), owners)
        for role, (path, (module, owners)) in zip(roles, candidates.items(), strict=True)
    ]


def _normalised_images(model: BaseAlgorithm) -> str:
    """A sentence if there are images in a Dict of which ``VecNormalize`` has made spaces that are none; else nothing."""
    env, space = model.get_vec_normalize_env(), model.observation_space
    if env is None or not env.norm_obs or not isinstance(space, spaces.Dict):
        return ""
    images = [key for key in env.norm_obs_keys or () if key in space.spaces and len(space[key].shape or ()) == 3]
    if not images:
        return ""
    others = [key for key in env.norm_obs_keys or () if key not in images]
    remedy = f"norm_obs_keys={others}" if others else "norm_obs=False"
    return (
        f"VecNormalize normalises {', '.join(map(repr, images))} (norm_obs_keys), which is then {space[images[0]]}: for "
        f"Stable-Baselines3 no image, so that it is flattened. Make VecNormalize with {remedy}, and a new model with it."
    )


def check_encoder(encoder: str) -> None:
    """:raises ValueError: there is no such choice of extractors"""
    if encoder not in ENCODERS:
        raise ValueError(f"encoder is {encoder!r}, but it takes one of {', '.join(map(repr, ENCODERS))}.")


def choose_sites(sites: list[Site], encoder: str) -> list[Site]:
    """
    The extractors that get a head.

    :param sites: what :func:`find_sites` found
    :param encoder: ``"critic"``, ``"actor"``, ``"both"`` or ``"tied"``; says nothing where there is but one extractor
    :raises ValueError: if the choice does not exist, or if there is nothing to tie
    """
    check_encoder(encoder)
    if encoder == "tied" and len({id(o) for site in sites for o in site.optimizers}) < 2:
        raise ValueError(
            "encoder='tied' is for algorithms whose actor and critic have an optimiser and an extractor each (SAC, TQC, TD3, "
            "DDPG, CrossQ with share_features_extractor=False); this model has not, so leave encoder at its default."
        )
    if len(sites) == 1 or encoder == "both":
        return sites
    role = "actor" if encoder == "actor" else "critic"
    chosen = [site for site in sites if site.role == role]
    if not chosen:
        raise ValueError(
            f"This model has several features extractors, and none is the {role}'s by its name (they are the "
            f"{' and the '.join(site.role for site in sites)}'s): encoder takes the other, or let it have one of each."
        )
    return chosen


def check_roles(sites: list[Site]) -> None:
    """:raises ValueError: two of the sites, which are told apart by their roles, are of one"""
    if len({site.role for site in sites}) < len(sites):
        raise ValueError(
            f"This model has several features extractors for one of actor and critic ({', '.join(s.path for s in sites)}), "
            "and heads are told apart by these: let it have one of each."
        )


def still_trained(model: BaseAlgorithm, sites: list[Site]) -> bool:
    """Whether the optimisers of these sites are the model's: not so once its networks were made anew."""
    optimizers = _optimizers(model.policy)
    return all(any(mine is theirs for theirs in optimizers) for site in sites for mine in site.optimizers)


def paths(policy: nn.Module) -> dict[str, nn.Module]:
    """A policy's modules by their paths, which ``torch.compile`` leaves as they are."""
    return {path.replace("_orig_mod.", ""): module for path, module in policy.named_modules()}


def outermost_extractors(policy: nn.Module) -> dict[str, BaseFeaturesExtractor]:
    """Features extractors by their path in the policy, those inside another one left out."""
    found: dict[str, BaseFeaturesExtractor] = {}
    for path, module in paths(policy).items():
        if isinstance(module, BaseFeaturesExtractor) and not any(path.startswith(f"{outer}.") for outer in found):
            found[path] = module
    return found


def target_extractors(model: BaseAlgorithm) -> list[BaseFeaturesExtractor]:
    """The extractors that no optimiser trains: those of target networks."""
    trained = {id(p) for o in _optimizers(model.policy) for group in o.param_groups for p in group["params"]}
    return [m for m in outermost_extractors(model.policy).values() if not any(id(p) in trained for p in m.parameters())]


def make_encoder(extractor: BaseFeaturesExtractor, observation_space: spaces.Space, normalize_images: bool) -> Encoder:
    """
    The image part of an extractor.

    :raises ValueError: if no part of it can be told to be for images
    """
    if not isinstance(observation_space, spaces.Dict):
        if len(observation_space.shape or ()) != 3:
            raise ValueError(f"A head needs image observations of three dimensions, but the space is {observation_space}.")
        return Encoder({IMAGE: extractor}, observation_space, normalize_images)
    parts = getattr(extractor, "extractors", {})
    named = parts.items() if isinstance(parts, Mapping | nn.ModuleDict) else ()
    images = {
        key: part
        for key, part in named
        if key in observation_space.spaces
        and len(observation_space[key].shape or ()) == 3
        and any(p.requires_grad for p in part.parameters())
    }
    if not images:
        raise ValueError(
            f"{type(extractor).__name__} has no trainable part in its `extractors` under the name of an image entry, as "
            "CombinedExtractor has, and a head that reads the whole of it could match samples by their vector entries."
        )
    return Encoder(images, observation_space, normalize_images)


def is_trpo(model: BaseAlgorithm) -> bool:
    """TRPO moves its actor by ``param.data``; its encoder never has a gradient at an optimiser's step."""
    return any(cls.__name__ == "TRPO" for cls in type(model).__mro__)


def _optimizers(policy: nn.Module) -> list[Optimizer]:
    """Those of the policy, its actor and its critic, in this order: the first that holds a shared extractor moves it."""
    holders = (policy, getattr(policy, "actor", None), getattr(policy, "critic", None))
    found = [getattr(holder, "optimizer", None) for holder in holders]
    return [o for o in found if isinstance(o, Optimizer)]


def _role(path: str, name: str) -> str:
    first = path.split(".")[0]
    if first == "critic" or first.startswith("vf_"):
        return "critic"
    if first in ("actor", "features_extractor") or first.startswith("pi_"):
        return "actor"
    raise ValueError(
        f"This {name} has several features extractors, and '{path}' is neither the actor's nor the critic's by its name; "
        "share one extractor, or name them pi_features_extractor and vf_features_extractor as SB3 does."
    )
