"""Parts of one's own, used without a change to Ninefold. From the folder `examples`:

ninefold train --model own_parts.model:Small --data own_parts.data:stripes \
    --augment own_parts.training:noise --loss own_parts.training:focal \
    --optim own_parts.training:Signs --image-size 32
"""
