"""A drop-in `bedrock-runtime` client over a store: `wrap`. Needs `titanstore[bedrock]`."""

from titanstore.clients.bedrock.batches import Warmed
from titanstore.clients.bedrock.client import Titan, wrap
from titanstore.clients.bedrock.counters import ClientCounters
from titanstore.clients.bedrock.embedder import Embedder
from titanstore.clients.bedrock.upkeep import Moved, Pruned

__all__ = ["ClientCounters", "Embedder", "Moved", "Pruned", "Titan", "Warmed", "wrap"]
