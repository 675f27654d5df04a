"""`python -m agent_execution`: the agent execution service alone."""

from agent_execution.app import build
from service_core.entry import main

if __name__ == "__main__":
    main(build)
