"""Ray's settings. Most of them it reads while it is imported, so that they are set before."""

import secrets

_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # The workers have this environment as it is; Ray would pack the folder into its memory.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


def ray_variables(address: str) -> dict[str, str]:
    """The environment variables of Ray for a cluster at `address`; "" is one of our own.

    One of our own listens on loopback addresses alone, and lets nobody in but its own processes: by
    a token that is in their environment, and not in a file in the home folder, as Ray has it.
    """
    if address:
        return dict(_ALWAYS)
    return {
        **_ALWAYS,
        # The name speaks of other systems; 0 makes a node of any keep to 127.0.0.1.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
