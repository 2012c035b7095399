"""Which samples a process reads, in which order: reproducible training epochs, and evaluation of every object once.

Both are DistributedSamplers, so that Lightning leaves them as they are under DDP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler


class TrainingSampler(DistributedSampler[tuple[int, int]]):
    """The (epoch, index) keys of this rank's training samples, from wherever the run stands.

    Rank r of W reads the indices r, r + W, ...; an uneven rest is dropped, so that all ranks make the same number of
    steps. Batch b of all ranks together therefore holds the same samples whatever W is, as long as the total batch size
    stays.
    """

    def __init__(
        self,
        epoch_length: int,
        batch_size: int = 1,
        replicas: int = 1,
        rank: int = 0,
        position: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        """
        Args:
            epoch_length: samples of an epoch, over all ranks.
            batch_size: of this rank; `position` counts in batches.
            replicas: number of ranks.
            rank: this one.
            position: asked whenever an iteration starts: (epoch, number of its batches that are done). None: the epoch
                given to `set_epoch`, from its beginning.
        """
        super().__init__(cast("Dataset[Any]", range(epoch_length)), replicas, rank, shuffle=False, drop_last=True)
        self.batch_size = batch_size
        self.position = position

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, batches = (self.epoch, 0) if self.position is None else self.position()
        for number in range(batches * self.batch_size, self.num_samples):
            yield epoch, number * self.num_replicas + self.rank


class EachOnceSampler(DistributedSampler[int]):
    """This rank's share of an evaluation set: r, r + W, ..., so that shares differ by one object at most.

    Of fewer objects than ranks, a rank that would have none reads the last one, too: Lightning leaves the evaluation
    out where there is no batch, and the other ranks would wait for that one for ever. Objects carry their index, by
    which they are counted once.
    """

    def __init__(self, length: int, replicas: int = 1, rank: int = 0) -> None:
        super().__init__(cast("Dataset[Any]", range(length)), replicas, rank, shuffle=False)
        self.indices = range(rank, length, replicas) or range(length)[-1:]
        self.num_samples = len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
