"""Vision-language training in JAX: text-driven soft masks and adaptive hard negatives.

```python
import jaxvl

model = jaxvl.load("runs/demo")
image = model.encode_image(["photo.jpg"])
text = model.encode_text(["a dog in the snow"])
model.similarity(image, text)
```
"""

from jaxvl.api import load, train
from jaxvl.errors import UserError

__all__ = ["UserError", "load", "train"]
__version__ = "0.2.0"
