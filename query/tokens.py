"""An estimate of tokens, for texts whose model's tokenizer is not at hand."""

BYTES_PER_TOKEN = 3


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has; rather too many than too few for prose in any script."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
