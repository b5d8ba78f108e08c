"""Features extractors by name."""

from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from cpc_rl.extractors import DataEfficientExtractor, DrQExtractor, ImpalaExtractor, NatureExtractor, ViTExtractor

EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {
    "nature": NatureExtractor,
    "data_efficient": DataEfficientExtractor,
    "impala": ImpalaExtractor,
    "drq": DrQExtractor,
    "vit": ViTExtractor,
}


def extractor_class(extractor: str | type[BaseFeaturesExtractor]) -> type[BaseFeaturesExtractor]:
    """
    :param extractor: a name from :data:`EXTRACTORS`, or a class
    :raises ValueError: if it is neither
    """
    if isinstance(extractor, str):
        if extractor not in EXTRACTORS:
            raise ValueError(f"There is no extractor {extractor!r}; there are {', '.join(EXTRACTORS)}.")
        return EXTRACTORS[extractor]
    if isinstance(extractor, type) and issubclass(extractor, BaseFeaturesExtractor):
        return extractor
    raise ValueError(
        f"extractor is {extractor!r}, but it takes a name or a class of Stable-Baselines3's BaseFeaturesExtractor."
    )
