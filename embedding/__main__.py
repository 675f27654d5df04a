"""`python -m embedding`: the embedding service alone."""

from embedding.app import build
from service_core.entry import main

if __name__ == "__main__":
    main(build)
