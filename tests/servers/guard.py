"""Run a server until it ends or this program's standard input does.

Whoever starts it holds the other end of the pipe. However that process ends, even by kill -9, the
pipe closes and the server goes with it.

    guard.py USER SIGNAL COMMAND...    with USER "" the server runs as who starts it
"""

import pwd
import subprocess
import sys
import threading

STOP_SECONDS = 10.0


def start(user: str, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """The running server."""
    if not user:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL)
    account = pwd.getpwnam(user)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
    )


def main(user: str, signal: str, *command: str) -> int:
    """Run the command; its exit code."""
    server = start(user, command)

    def stop_with_the_pipe() -> None:
        sys.stdin.read()
        server.send_signal(int(signal))
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()

    threading.Thread(target=stop_with_the_pipe, daemon=True).start()
    return server.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
