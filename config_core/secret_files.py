"""Settings that hold a secret, read from the files that hold it instead."""

from collections.abc import Mapping, Sequence

from config_core.configuration_file import SecretOrigin
from config_core.environ import PLACE
from config_core.errors import ConfigurationFileError
from config_core.secrets import LocalSecrets, SecretUnavailableError


def with_files(environ: Mapping[str, str], variables: Sequence[str]) -> Mapping[str, str]:
    """The environment with each of `variables` set that is given by its `…_FILE`.

    Raises ConfigurationFileError for a file that can't be read, or that stands beside a value.
    """
    read = dict[str, str]()
    problems = list[tuple[str, str]]()
    for name in variables:
        variable = f"{name}_FILE"
        path = environ.get(variable)
        if not path:
            continue
        if environ.get(name):
            problems.append((name, f"stands beside {variable}: give one of them"))
            continue
        try:
            read[name] = LocalSecrets({}).read(SecretOrigin(file=path)).get_secret_value()
        except SecretUnavailableError as error:
            problems.append((variable, str(error)))
    if problems:
        raise ConfigurationFileError(PLACE, problems)
    return {**environ, **read}
