"""OpenAI moderations: free, and still written down."""

from proxy.dialects import Reading
from proxy.dialects.body import json_object, text
from proxy.dialects.openai_embeddings import Embeddings
from proxy.dialects.prompt import Gathered, walk_prompts

_DEFAULT = "omni-moderation-latest"


class Moderations(Embeddings):
    """Input alone, as with embeddings; but the model may be left out."""

    name = "moderations"

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        gathered = Gathered(len(body))
        batch = walk_prompts(gathered, data.get("input"))
        return Reading(
            model=text(data, "model") or _DEFAULT,
            prompt=gathered.prompt(),
            batch_size=batch,
            has_output=False,
        )
