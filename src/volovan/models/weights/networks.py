"""Where in a weight file the network is: found by what its tensors are called, not by the entry that holds them.

Scripts put a state dict under entries of their own ("model_state_dict", "net"), Lightning and wrappers put words before
its names ("model.", "module."), and many files hold an average of the weights beside the weights. So every dictionary
is looked at, and every beginning of names behind which a network of ours starts; of what is found, that is taken of
which most tensors fit, and the averaged one of two that fit alike. Two that cannot be told apart are refused.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from volovan.models.weights.reading import RawFile, WeightsError

State = dict[str, Tensor]

# What stands before a trunk: in mmsegmentation and its like, in torchvision, in Mask2Former of transformers.
_WITHIN = r"(backbone\.(body\.)?|model\.pixel_level_module\.encoder\.)?"
# One telling name per layout, as it stands in the file once wrappers are off.
SIGNATURES = (
    ("transformers", r"(van\.)?encoder\.stages\.0\.embeddings\.convolution\.weight"),
    ("mmpretrain", r"(backbone\.)?patch_embed1\.projection\.weight"),
    ("original VAN", _WITHIN + r"patch_embed1\.proj\.weight"),
    ("original or timm VOLO", _WITHIN + r"patch_embed\.conv\.0\.weight"),
    ("original LV-ViT", _WITHIN + r"(patch_embed\.conv1|blocks\.0\.attn\.qkv)\.weight"),
)
OURS = re.compile("(trunk\\.)?(" + "|".join(pattern for _, pattern in SIGNATURES) + ")")
"""names that only our networks have, alone or as the trunk of a dense one"""
BEFORE = re.compile(r"((?:[A-Za-z_]\w*\.)*?)")
"""what may stand before them: words, no numbers, since parts of other networks are numbered"""
# What FSDP, activation checkpointing, torch.compile and Fabric put between the parts of a name, at any depth.
WRAPPED = re.compile(r"(?<![^.])(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod|_forward_module)\.")
# Counters of torch's AveragedModel and of thop: no part of the network, and nothing that a user misses.
COUNTERS = re.compile(r"(.*\.)?(n_averaged|total_ops|total_params)")
AVERAGED = re.compile(r"(?:^|[._])(ema|averaged?|swa|polyak)(?=$|[._])", re.IGNORECASE)
DEEPEST = 6
LISTED = 4


@dataclass(frozen=True)
class Network:
    """A network in a file.

    path      entries that lead to its dictionary
    before    what its names begin with there
    state     its tensors, without that
    averaged  whether they are a moving average
    """

    path: tuple[str | int, ...]
    before: str
    state: State
    averaged: bool

    @property
    def place(self) -> str:
        """How the user finds it in the file."""
        return ".".join(map(str, self.path)) + (f" ({self.before}*)" if self.path and self.before else self.before)

    @property
    def code(self) -> str:
        """The expression that gives it, of the content of the file."""
        inside = "content" + "".join(f"[{entry!r}]" for entry in self.path)
        if not self.before:
            return inside
        return f"{{k: v for k, v in {inside}.items() if k.startswith({self.before!r})}}"


def unnested_state(
    raw: RawFile,
    ema: bool = True,
    fits: Callable[[State], int] = len,
    telling: re.Pattern[str] = OURS,
    what: str = "VOLO, VAN or LV-ViT",
) -> tuple[State, list[str]]:
    """State dict in the names of the file, and what was decided on the way (sentences).

    ema      take averaged weights where the file has them beside the others
    fits     how many tensors of a state dict fit what it is for
    telling  names by which the network is known, called `what` where there is none
    raises   WeightsError: there is none, or there are several that fit alike
    """
    own = _own_checkpoint(raw, ema)
    if own is not None:
        return own
    dictionaries = list(_dictionaries(raw.content))
    found = [network for path, state in dictionaries for network in _networks(path, state, telling)]
    if not found:
        raise WeightsError(_none(raw, [state for _, state in dictionaries], what))
    found = [_with_buffers(network, found) for network in _told(raw.content, found)]
    count = [fits(network.state) for network in found]
    alike = [network for network, number in zip(found, count, strict=True) if number == max(count)]
    best = [network for network in alike if network.averaged == ema] or alike
    if max(count) and any(not _equal(best[0].state, other.state) for other in best[1:]):
        raise WeightsError(_several(raw, best))
    chosen = best[0]
    others = [network.place for network in alike if network is not chosen and not _equal(network.state, chosen.state)]
    notes = []
    if others:
        which = ", the averaged weights" if chosen.averaged else ""
        notes.append(f"the file holds {', '.join([chosen.place, *others])}; {chosen.place} was taken{which}")
    elif chosen.averaged:
        notes.append("these are averaged weights")
    return chosen.state, notes + _left_out(chosen, dict(dictionaries)[chosen.path], found)


def _own_checkpoint(raw: RawFile, ema: bool) -> tuple[State, list[str]] | None:
    """Checkpoint of a volovan run: one flat file, the network under "model.", its average under "ema."."""
    if "volovan" not in raw.metadata:
        return None
    plain, averaged = (
        {key.removeprefix(name): t for key, t in raw.content.items() if key.startswith(name)}
        for name in ("model.", "ema.")
    )
    if plain and averaged and ema:
        return {**plain, **averaged}, ["the averaged weights (EMA) of the run were taken"]
    return (plain, []) if plain else None


def _dictionaries(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], State]]:
    """All dictionaries of a file that hold tensors, from outside to inside."""
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping) or len(path) > DEEPEST:
        return
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors and (path or not isinstance(content, list | tuple)):
        yield path, tensors
    for key, value in content.items():
        if not isinstance(value, Tensor):
            yield from _dictionaries(value, (*path, key))


def _networks(path: tuple[str | int, ...], tensors: State, telling: re.Pattern[str]) -> Iterator[Network]:
    """The networks of one dictionary: one for each beginning of names that a telling name has."""
    clean = {key: WRAPPED.sub("", key) for key in tensors if not COUNTERS.fullmatch(key)}
    sign = re.compile(BEFORE.pattern + f"(?:{telling.pattern})")
    beginnings = dict.fromkeys(match[1] for name in clean.values() if (match := sign.fullmatch(name)))
    for before in beginnings:
        others = tuple(other for other in beginnings if other != before and other.startswith(before))
        own = {k: name for k, name in clean.items() if name.startswith(before) and not name.startswith(others)}
        counted = f"{before.removesuffix('module.')}n_averaged" in tensors
        averaged = counted or any(AVERAGED.search(str(word)) for word in (*path, before))
        yield Network(path, before, {name.removeprefix(before): tensors[k] for k, name in own.items()}, averaged)


def _told(content: Any, found: list[Network]) -> list[Network]:
    """Two frameworks save the average as the network itself, and the weights of the last step beside it: Lightning as
    `current_model_state`, MMEngine as `ema_state_dict` (known by the counter `steps` of its averaging)."""
    if not isinstance(content, Mapping):
        return found
    theirs = content.get("ema_state_dict")
    last = {
        "current_model_state": "current_model_state" in content,
        "ema_state_dict": isinstance(theirs, Mapping) and "steps" in theirs,
    }
    beside = [entry for entry, there in last.items() if there]
    if not beside:
        return found
    averaged = {"state_dict": True, beside[0]: False}
    return [
        Network(n.path, n.before, n.state, averaged.get(str(n.path[0]), n.averaged)) if n.path else n for n in found
    ]


def _with_buffers(network: Network, found: list[Network]) -> Network:
    """An average of the parameters alone, with the buffers of the network that it is of."""
    if network.averaged:
        for other in found:
            if not other.averaged and network.state.keys() < other.state.keys():
                return Network(network.path, network.before, {**other.state, **network.state}, True)
    return network


def _equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(
        tensor.shape == other[key].shape and torch.equal(tensor, other[key].to(tensor.dtype))
        for key, tensor in one.items()
    )


def _left_out(chosen: Network, tensors: State, found: list[Network]) -> list[str]:
    """A sentence about the tensors of a dictionary that belong to no network."""
    named = [WRAPPED.sub("", key) for key in tensors if not COUNTERS.fullmatch(key)]
    beginnings = tuple(network.before for network in found if network.path == chosen.path)
    rest = [name for name in named if not name.startswith(beginnings)]
    if not rest:
        return []
    some = ", ".join(rest[:LISTED]) + (", ..." if len(rest) > LISTED else "")
    return [f"the network is what begins with {chosen.before}; beside it were left out: {some}"]


def _none(raw: RawFile, dictionaries: list[State], what: str) -> str:
    if dictionaries:
        tensors = max(dictionaries, key=len)
        some = ", ".join(sorted(tensors)[:LISTED])
        return f"{raw.path} holds no {what}: its {len(tensors)} tensors are named {some}, ..."
    found = f"found a {type(raw.content).__name__}, expected a dictionary of tensors"
    if isinstance(raw.content, Mapping):
        some = ", ".join(map(str, list(raw.content)[:8]))
        found = f"found the entries {some}" if raw.content else "it is an empty dictionary"
    return f"{raw.path} holds no state dict: {found}"


def _several(raw: RawFile, alike: list[Network]) -> str:
    """What to do about networks that cannot be told apart, to be followed to the letter."""
    places = ", ".join(network.place for network in alike)
    return (
        f"{raw.path} holds {len(alike)} networks that fit alike: {places}. Save the one that you mean by itself: "
        f"from volovan.models.weights import safe_read; content = safe_read({str(raw.path)!r}).content; "
        f'torch.save({alike[-1].code}, "one.pth")'
    )
