"""PyTorch Geometric's LightGCN over a sparse adjacency, which is its quickest form."""

from __future__ import annotations

from typing import Any

DISTRIBUTION = "torch-geometric"


def lightgcn(case: Any) -> dict[str, Any]:
    """Whole training steps: propagation, BPR with uniform negatives, Adam."""
    import torch
    from torch_geometric.nn import LightGCN

    torch.manual_seed(0)
    torch.set_num_threads(1)
    s = case.settings
    users, items = case.train.shape
    user, item = (torch.from_numpy(c) for c in case.pairs())
    both = torch.stack([torch.cat([user, item + users]), torch.cat([item + users, user])])
    graph = torch.sparse_coo_tensor(both, torch.ones(both.shape[1]), (users + items,) * 2).to_sparse_csr()
    model = LightGCN(users + items, s["embedding_dim"], s["num_layers"])
    adam = torch.optim.Adam(model.parameters(), s["learning_rate"])

    def step() -> None:
        adam.zero_grad()
        at = torch.randint(0, len(user), (s["batch_size"],))
        vectors = model.get_embedding(graph)
        other = users + torch.randint(0, items, (s["batch_size"],))
        query, near, far = vectors[user[at]], vectors[users + item[at]], vectors[other]
        loss = torch.nn.functional.softplus((query * far).sum(1) - (query * near).sum(1)).mean()
        raw = model.embedding.weight
        squares = sum(raw[rows].square().sum() for rows in (user[at], users + item[at], other))
        (loss + s["l2"] / 2 * squares / s["batch_size"]).backward()
        adam.step()

    step()
    for _ in range(s["steps"]):
        with case.timed():
            step()
    return {}
