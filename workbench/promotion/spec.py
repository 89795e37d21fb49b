"""What is to be promoted, by names, as a notebook's parameters give them."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from workbench.errors import RequestError, names_in
from workbench.features.catalogue import GROUPS
from workbench.models import learns, parse_name
from workbench.policy import Policy, parse_policy, policy_text
from workbench.promotion.policy import check_servable
from workbench.ranking import parse_rankers
from workbench.retrieval import IndexConfig, parse_sources


@dataclass(frozen=True, kw_only=True)
class Spec:
    """By names, as a notebook's parameters give them."""

    retriever: str
    """A model, or several sources whose blend it is."""
    candidates: int = 100
    k: int = 20
    """Places of a list."""
    cutoff: int = 10
    """Of the metric that stops a ranker."""
    ranker: str = ""
    index: IndexConfig | None = None
    """To look up the vectors of the one model in; None: the model scores the whole catalogue."""
    policy: Policy = field(default_factory=lambda: Policy(()))
    policy_text: str = ""
    groups: Collection[str] = GROUPS
    """Of features."""
    sensitive: Collection[str] = ()
    periods: int = 1
    epochs: int = 0
    tuned: bool = False
    seed: int = 0

    def check(self) -> None:
        """Raises RequestError for parts that do not go together, and for what no bundle can hold."""
        names = parse_retriever(self.retriever)
        parse_ranker(self.ranker)
        if self.ranker and any(learns(name) for name in names):
            raise RequestError(
                f"{self.retriever} learns by gradient, and a ranker's candidates come from models that are trained anew for each period."
            )
        if self.index and (len(names) > 1 or self.ranker):
            raise RequestError("an index holds the vectors of one model, without a ranker after it.")
        if self.candidates < self.k:
            raise RequestError(f"candidates = {self.candidates} should be at least the {self.k} places of a list.")
        check_servable(self.policy)

    @property
    def title(self) -> str:
        """In a few words."""
        told = f"{self.ranker} over {self.retriever}" if self.ranker else self.retriever
        told += f", {self.index}" if self.index else ""
        return f"{told}, {self.policy.text}" if self.policy.steps else told


def make_spec(
    retriever: str,
    candidates: int = 100,
    *,
    ranker: str = "",
    periods: int = 1,
    index: str = "",
    policy: str = "",
    **told: Any,
) -> Spec:
    """Out of a notebook's parameters. index: FAISS's name of one, or none; policy: a TOML text or the file it is in, or none. told: the
    other fields of `Spec`. Raises RequestError for what does not go together.
    """
    text = policy_text(policy) if policy else ""
    spec = Spec(
        retriever=retriever,
        candidates=candidates,
        ranker=ranker,
        periods=periods,
        index=IndexConfig.checked(factory=index) if index else None,
        policy=parse_policy(text) if text else Policy(()),
        policy_text=text,
        **told,
    )
    spec.check()
    return spec


def parse_retriever(text: str) -> list[str]:
    """One model of any kind, or several sources. Raises RequestError for a name that is unknown, or comes twice."""
    return [parse_name(text)] if len(names_in(text)) == 1 else parse_sources(text)


def parse_ranker(text: str) -> str:
    """One ranker's name, or none. Raises RequestError for an unknown one, and for several."""
    names = parse_rankers(text) if text else [""]
    if len(names) > 1:
        raise RequestError(f'ranker = "{text}" should name one ranker, or none.')
    return names[0]
