"""What the agents of Patch AutoAugment learn from: advantage actor-critic with three credits.

Source: Lin et al. 2021, arXiv 2103.11099, section 3.3; Mnih et al. 2016, arXiv 1602.01783;
efficientnetv2-paa specification, section B4.
Shapes: b images, a actions, n x n patches.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Credit = Literal["image", "team", "official"]
"""`image`: each image's own loss is the reward of its patches. `team`: the paper's objective, the
mean loss of the batch for all. `official`: as the official program computes that, with one mean of
all log-probabilities, and with the critic drawn towards them: the policy then walks at random."""


def a2c_loss(
    scores: Float[Tensor, "b a n n"],
    actions: Int[Tensor, "b n n"],
    value: Float[Tensor, " b"],
    reward: Float[Tensor, " b"],
    *,
    credit: Credit = "image",
    executed: Bool[Tensor, "b n n"] | None = None,
    chance_scores: Float[Tensor, "b s n n"] | None = None,
    chance_actions: Int[Tensor, "b n n"] | None = None,
    entropy_weight: float = 0.001,
) -> dict[str, Tensor]:
    """The loss of actor and critic together, and what is worth logging.

    Args:
        scores: Logits of the policy.
        actions: What was drawn from them.
        value: The critic's guess of the reward.
        reward: Each image's loss; no gradient goes into it.
        credit: Whose loss rewards whom.
        executed: Patches that were operated on: only these count, as the others had no effect.
            `official` counts all.
        chance_scores: Logits of a second actor, whose share is half.
        chance_actions: What was drawn from them.
        entropy_weight: What the mean entropy is worth; half of it each where there are two actors.

    Returns:
        `loss`; `log_prob` and `entropy`, means over patches; `advantage`, its mean.

    Departs: `official` alone lets the critic's gradient flow through the advantage of the actor.
    """
    reward = reward.detach()
    if credit != "image":
        reward = reward.mean().expand_as(reward)
    advantage = reward - value
    if credit == "official":
        executed = None
    actors = [(scores, actions)]
    if chance_scores is not None and chance_actions is not None:
        actors.append((chance_scores, chance_actions))
    share = 1 / len(actors)
    critic = advantage.mean() ** 2 if credit == "official" else advantage.square().mean()
    loss = 0.5 * critic
    told: dict[str, Tensor] = {}
    for one, drawn in actors:
        log_probs = one.float().log_softmax(dim=1)
        log_prob = log_probs.gather(1, drawn[:, None]).squeeze(1)
        entropy = -(log_probs.exp() * log_probs).sum(dim=1).mean()
        loss = loss + share * (
            _actor(log_prob, advantage, executed, credit) - entropy_weight * entropy
        )
        told = told or {"log_prob": log_prob.mean().detach(), "entropy": entropy.detach()}
    return {"loss": loss, **told, "advantage": advantage.mean().detach()}


def _actor(
    log_prob: Tensor, advantage: Tensor, executed: Tensor | None, credit: Credit
) -> Float[Tensor, ""]:
    if credit == "official":
        return -log_prob.mean() * advantage.mean()
    if executed is not None:
        log_prob = torch.where(executed, log_prob, 0.0)
    return -(log_prob.sum(dim=(1, 2)) * advantage.detach()).mean()
