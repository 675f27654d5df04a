"""What a server that others can reach must have before it starts: identity and TLS."""

from collections.abc import Iterator

from config_core.environ import PLACE
from config_core.errors import ConfigurationFileError
from config_core.identity import IdentityRules
from config_core.settings import Settings
from service_core.channel import is_loopback_host


def is_exposed(settings: Settings) -> bool:
    """Whether others than this machine can reach the servers, without the operator's consent."""
    return not is_loopback_host(settings.host) and not settings.allow_insecure


def check(settings: Settings, rules: IdentityRules | None) -> None:
    """Raise ConfigurationFileError that says what is missing, if anything is."""
    if is_exposed(settings):
        missing = list(_missing(settings, rules))
        if missing:
            why = (
                f"{settings.host} can be reached from other machines, so set "
                f"{', and '.join(missing)}; or set CASCADA_ALLOW_INSECURE=1 to do without"
            )
            raise ConfigurationFileError(PLACE, [("CASCADA_HOST", why)])


def _missing(settings: Settings, rules: IdentityRules | None) -> Iterator[str]:
    if settings.tls_cert_file is None:
        yield "CASCADA_TLS_CERT_FILE and CASCADA_TLS_KEY_FILE (`cascada certs DIR` makes some)"
    if rules is None or not _has_method(settings, rules):
        yield (
            "tokens, certificates or issuers under identity in the file that CASCADA_CONFIG_FILE "
            "names (`cascada token new` makes a token)"
        )


def _has_method(settings: Settings, rules: IdentityRules) -> bool:
    """Whether anybody at all can be identified here."""
    verified = rules.certificates and settings.tls_client_ca_file is not None
    return bool(rules.tokens or rules.issuers or verified)
