"""`python -m agent_execution`: the agent execution service alone."""

import sys

from agent_execution.app import build
from config_core.errors import ConfigurationFileError
from service_core.process import run
from service_core.server import BindError

if __name__ == "__main__":
    try:
        run([build])
    except (BindError, ConfigurationFileError) as error:
        sys.exit(str(error))
