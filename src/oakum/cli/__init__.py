"""The `oakum` command: one file a command, no logic of its own. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; errors on purpose are one sentence, exit 2 for misuse and 3 for failure."""
    from oakum.cli.app import dispatch
    from oakum.errors import (
        DataError,
        Denied,
        Interrupted,
        MissingExtra,
        ModelFileError,
        OakumError,
        ParameterError,
        ProtocolError,
    )

    misuse = (DataError, ParameterError, ProtocolError, MissingExtra, ModelFileError, Denied)
    try:
        dispatch(sys.argv[1:])
    except misuse as error:
        print(f"oakum: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as error:
        print(f"oakum: {error}", file=sys.stderr)
        sys.exit(130)
    except OakumError as error:
        print(f"oakum: {error}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        print("oakum: stopped; run the same command again to go on where it stopped.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"oakum: {error.strerror or error}{where}. Free some space or name another folder.",
            file=sys.stderr,
        )
        sys.exit(3)
