"""Rewrite the goldens from the descriptor image: `python -m tests.contract.refresh`.

Read the difference before committing it: it is what every client sees change on the wire. The image
comes first (`make proto-image`), because the goldens are of its messages.
"""

import sys

from tests.contract import goldens, image


def main() -> int:
    """Rewrite, and print the messages whose golden changed."""
    goldens.FOLDER.mkdir(exist_ok=True)
    changed = goldens.write_all(image.load())
    sys.stdout.writelines(f"{name}\n" for name in changed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
